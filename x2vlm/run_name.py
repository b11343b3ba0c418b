"""What a config's run is called: in work folders, logs and tables."""

from pathlib import Path


def run_name(config: str | Path) -> str:
    """``"toy_pretrain"`` of ``configs/demo/toy_pretrain.py``; ``"mine/config"`` of ``plugins/mine/config.py``.

    Configs of plugins are often called ``config.py``: each run is called by its plugin too.
    """
    path = Path(config)
    home = path.resolve().parent
    return f"{home.name}/{path.stem}" if home.parent.name == "plugins" else path.stem
