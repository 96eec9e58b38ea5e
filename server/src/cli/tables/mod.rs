//! xCAT's tables, as views on the definitions: nodels, tabdump, gettab, tabgrep; nodeadd, nodech, noderm, nodegrpch,
//! chtab.

mod change;
mod condition;
mod groups;
mod nodels;
mod show;
mod view;

pub(super) use change::{
    CHTAB_EXAMPLES, Chtab, NODEADD_EXAMPLES, NODECH_EXAMPLES, NODERM_EXAMPLES, Nodeadd, Nodech, Noderm,
    chtab, nodeadd, nodech, noderm,
};
pub(super) use groups::{NODEGRPCH_EXAMPLES, Nodegrpch, nodegrpch};
pub(super) use nodels::{NODELS_EXAMPLES, Nodels, nodels};
pub(super) use show::{
    GETTAB_EXAMPLES, Gettab, TABDUMP_EXAMPLES, TABGREP_EXAMPLES, Tabdump, Tabgrep, gettab, tabdump, tabgrep,
};
