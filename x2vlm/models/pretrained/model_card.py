"""A card for a saved model: what it is, what it learned from, how good it is, and how to use it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TEXT = """---
library_name: x2vlm
license: {license}
tags:
{tags}
---

# {title}

A vision-language model of the library `x2vlm`: {parts}. {parameters:.1f} M parameters.

## Use

```python
from x2vlm.inference import Inferencer

model = Inferencer.from_pretrained("{title}")
print(model.tasks)
```

## Training data

{data}

## Evaluation

{metrics}

## Licence

{license_note}

## Config

```json
{config}
```
"""


def write_model_card(
    model: Any,
    folder: str | Path,
    config: Mapping[str, Any],
    data: str | None = None,
    metrics: Mapping[str, float] | None = None,
    license: str | None = None,
) -> Path:
    """Write ``README.md`` beside a model, unless there is one.

    Args:
        model: The model.
        folder: Its folder.
        config: What ``config.json`` holds.
        data: What it was trained on, in a sentence.
        metrics: Results of evaluations, by name.
        license: Its licence, as the hub names licences.
    """
    file = Path(folder) / "README.md"
    if file.exists():
        return file
    objectives = ", ".join(model.objectives) or "none"
    towers = ", ".join(f"{name.replace('_', ' ')} {type(tower).__name__}" for name, tower in model.towers.items())
    rows = [f"| {name} | {value:.2f} |" for name, value in (metrics or {}).items()]
    file.write_text(
        TEXT.format(
            license=license or "other",
            tags="\n".join(f"- {tag}" for tag in ("x2vlm", "vision-language", *model.objectives)),
            title=Path(folder).resolve().name,
            parts=f"{towers}; objectives {objectives}",
            parameters=sum(p.numel() for p in model.parameters()) / 1e6,
            data=data or "Not stated.",
            metrics="\n".join(["| metric | value |", "|---|---|", *rows]) if rows else "Not stated.",
            license_note=license or "Not stated. The licences of the training data and of pre-trained towers apply.",
            config=json.dumps(config, indent=2),
        ),
        "utf-8",
    )
    return file
