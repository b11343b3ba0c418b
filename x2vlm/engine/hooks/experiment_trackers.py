"""Weights & Biases and MLflow as visualizer backends: MMEngine's, with what current versions of both need."""

import os
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.visualization import vis_backend
from mmengine.visualization.vis_backend import force_init_env

from x2vlm.registry import VISBACKENDS


@VISBACKENDS.register_module()
class WandbVisBackend(vis_backend.WandbVisBackend):
    """MMEngine's backend for Weights & Biases (``pip install wandb``), with scalars at their iteration.

    Arguments are MMEngine's: ``init_kwargs`` (``project``, ``name``, ...; those of ``wandb.init``), ``log_code_name``,
    ... Without ``log_code_name`` no source code is uploaded; MMEngine's uploads all Python files below the current
    directory, those of a virtual environment in it included.
    """

    @force_init_env
    def add_config(self, config: Config, **kwargs: Any) -> None:
        """Record the config."""
        allow = (self._init_kwargs or {}).get("allow_val_change", False)
        self._wandb.config.update(config.to_dict(), allow_val_change=allow)
        if self._log_code_name is not None:
            self._wandb.run.log_code(name=self._log_code_name)

    @force_init_env
    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """Record a number at an iteration."""
        self.add_scalars({name: value}, step)

    @force_init_env
    def add_scalars(self, scalar_dict: dict[str, Any], step: int = 0, file_path: str | None = None, **_: Any) -> None:
        """Record numbers at an iteration; those of an evaluation join those of the step before it."""
        self._wandb.log(scalar_dict, step=step, commit=None if self._commit else False)


@VISBACKENDS.register_module()
class MLflowVisBackend(vis_backend.MLflowVisBackend):
    """MMEngine's backend for MLflow (``pip install mlflow``), which writes to a local database by default.

    Arguments are MMEngine's: ``exp_name``, ``run_name``, ``tags``, ``tracking_uri``, ``tracked_config_keys``, ...
    Without ``tracking_uri`` that of ``MLFLOW_TRACKING_URI`` is used, and without that ``mlflow.db`` in the log folder
    of the run: current versions of MLflow refuse the plain files that MMEngine's would write there.
    """

    def __init__(self, save_dir: str, tracking_uri: str | None = None, **kwargs: Any) -> None:
        if tracking_uri is None:
            tracking_uri = os.environ.get("MLFLOW_TRACKING_URI")
        self._is_own_place = tracking_uri is None
        if self._is_own_place:
            folder = Path(save_dir).absolute()
            tracking_uri = f"sqlite:///{folder / 'mlflow.db'}"
            kwargs.setdefault("artifact_location", (folder / "artifacts").as_uri())
        super().__init__(save_dir, tracking_uri=tracking_uri, **kwargs)

    def close(self) -> None:
        """Copy the logs of the run to its artifacts and end it."""
        super().close()
        if self._is_own_place and hasattr(self, "_mlflow"):
            self._mlflow.set_tracking_uri(None)  # MLflow keeps it for the whole process: the next run has its own place
