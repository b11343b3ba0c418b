"""Process group, stalled ranks, model wrappers, and fully sharded training (FSDP2)."""
