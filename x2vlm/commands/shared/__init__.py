"""What commands run and share: exit statuses, sources of data, sessions of galleries, ablations, pre-training sets."""
