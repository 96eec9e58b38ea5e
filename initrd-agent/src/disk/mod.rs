//! Disks: what is there, what was captured, and making one into the other.
