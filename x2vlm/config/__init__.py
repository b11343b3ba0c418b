"""Load and check configs: ``load_config`` returns a checked config, or raises with every problem at once."""

from x2vlm.config.config_loader import add_cfg_options, load_config
