//! xCAT's tables, as views on the definitions: nodels, tabdump, gettab, tabgrep; nodeadd, nodech, noderm, nodegrpch,
//! chtab.

mod change;
mod show;
mod view;

pub(super) use change::{
    CHTAB_EXAMPLES, Chtab, NODEADD_EXAMPLES, NODECH_EXAMPLES, NODEGRPCH_EXAMPLES, NODERM_EXAMPLES, Nodech,
    Noderm, chtab, nodeadd, nodech, nodegrpch, noderm,
};
pub(super) use show::{
    GETTAB_EXAMPLES, Gettab, NODELS_EXAMPLES, Nodels, TABDUMP_EXAMPLES, TABGREP_EXAMPLES, Tabdump, Tabgrep,
    gettab, nodels, tabdump, tabgrep,
};
