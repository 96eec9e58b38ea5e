//! What makes machines start: [`netboot`] renders the configuration that each network loader asks for, [`disk`] plans
//! and writes the loader on a clone's own disk.

pub mod disk;
pub mod netboot;
