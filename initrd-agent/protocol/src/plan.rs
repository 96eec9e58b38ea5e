//! Fits a captured [`crate::layout::Layout`] onto the disks of an [`crate::inventory::Inventory`]. Pure.
