"""Reading configs: ``load_config`` gives a config that is known to fit, or tells every problem at once."""

from x2vlm.config.config_loader import add_cfg_options, load_config
