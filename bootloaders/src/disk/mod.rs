//! Plans and writes the loader on a clone's own disk.
