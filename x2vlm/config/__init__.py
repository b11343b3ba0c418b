"""Load and check configs: ``load_config`` returns a checked config, or raises with every problem at once."""

from x2vlm.config.cfg_options import add_cfg_options
from x2vlm.config.config_loader import load_config
