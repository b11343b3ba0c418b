"""What several commands share: exit statuses, sources of data, the session of a gallery, runs of ablations."""
