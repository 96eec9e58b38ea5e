//! Noderanges: the little language that names many nodes at once (`rack[1-4]@compute,-n013`). Text is parsed into
//! a [`Range`], and a range is evaluated against a [`NodeSource`]. Neither does I/O.
//!
//! ```text
//! range  := [ term { ',' term } ]        union; the result is sorted, each node once
//! term   := [ '-' ] isect                a leading '-' excludes; exclusions are applied last and win
//! isect  := atom { '@' atom }            intersection
//! atom   := '(' range ')' | '/' regex [ '/' ] | '^' file | attr op value | word
//! op     := '==' | '!=' | '=~' | '!~'    attr may be written table.attr; the source knows what it stands for
//! word   := node | group | a-b | a:b | pre[1-3,5]post | name+N | number
//! ```
//!
//! A word that is the name of a node or group is just that, whatever else it looks like; nodes win over groups. A
//! bare number stands for `node<number>`. Zero padding is kept. A `/regex/` must match a whole node name, the value
//! of `=~` any part of the attribute. Commas and '@' inside brackets belong to the word, and inside brackets or
//! parentheses to the regex; elsewhere in a regex they are written `\,` and `\@`.
//!
//! `^file` is replaced by what the file holds with [`Range::with_files`], which the command line does before it
//! sends a range. Evaluating a range that still names a file is an error: a server never opens files for a client.

mod ast;
mod evaluate;
mod names;
mod parse;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use ast::{Operator, Range, Select};
pub use evaluate::{NodeSource, Selection};

/// Longest text that is read as a range, in bytes. A list of 40,000 long node names fits.
pub const MAX_TEXT_BYTES: usize = 1 << 20;

/// Deepest nesting of parentheses. Far more than people write, and little enough for any thread's stack.
pub const MAX_DEPTH: usize = 64;

/// Most names that the spans, brackets and increments of one range may make. A slip of the keyboard
/// (`n1-n1000000000`) is refused instead of filling the memory.
pub const MAX_NAMES: u64 = 100_000;

/// Why a range cannot be used. Names that nobody has are not an error but [`Selection::unknown`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// The text is longer than [`MAX_TEXT_BYTES`].
    #[error("the noderange is longer than {MAX_TEXT_BYTES} bytes")]
    TooLong,
    /// Parentheses are nested deeper than [`MAX_DEPTH`].
    #[error("the noderange nests parentheses more than {MAX_DEPTH} deep")]
    TooDeep,
    /// It makes more than [`MAX_NAMES`] names.
    #[error("'{text}' brings the noderange to more than {MAX_NAMES} names")]
    TooMany {
        /// The word that went over the limit.
        text: String,
    },
    /// A bracket or parenthesis is never closed.
    #[error("'{opened}' is never closed in '{text}'")]
    Unclosed {
        /// The opening character.
        opened: char,
        /// The text from there.
        text: String,
    },
    /// Something is left out.
    #[error("{what} is missing before '{rest}' in the noderange")]
    Missing {
        /// What should be there.
        what: &'static str,
        /// The text where it should be.
        rest: String,
    },
    /// A character stands where it has no meaning.
    #[error("'{rest}' cannot stand here in the noderange; parts are separated by ',' or '@'")]
    Unexpected {
        /// The text from there.
        rest: String,
    },
    /// A single `=` in place of a comparison.
    #[error("'{text}': a noderange compares an attribute with ==, !=, =~ or !~")]
    Comparison {
        /// The text.
        text: String,
    },
    /// Brackets with nothing, or not a span, between them.
    #[error("'{text}' holds brackets that are not numbers or spans such as [1-3,5]")]
    Brackets {
        /// The word.
        text: String,
    },
    /// A span that counts down.
    #[error("'{text}' runs backwards")]
    Backwards {
        /// The word.
        text: String,
    },
    /// A regular expression that cannot be read.
    #[error("'{text}' is not a regular expression: {reason}")]
    Regex {
        /// The expression.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A selection by an attribute that nodes do not have.
    #[error("'{name}' is not a valid attribute name for an object type of 'node'.")]
    Attribute {
        /// The name.
        name: String,
    },
    /// A file name where no file may be read.
    #[error("'^{}': only the command line reads files of nodes, where it runs", path.display())]
    File {
        /// The file.
        path: PathBuf,
    },
    /// A file that could not be read.
    #[error("cannot read the nodes in {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}
