//! How lsdef writes definitions.

use std::fmt::Write;

use super::objects::Object;

/// What lsdef was asked to show, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// Names with their types. `loose` is the form of `-a`, with one blank between them instead of two.
    Names {
        /// Whether one blank stands before the type.
        loose: bool,
    },
    /// Whole definitions; `types` adds the type to each heading.
    Long {
        /// Whether headings name the type.
        types: bool,
    },
    /// `name: attr=value`, one per line.
    Compressed,
    /// Stanza file.
    Stanza {
        /// Whether only the names are written.
        names_only: bool,
    },
}

/// Writes objects in a form. Only attributes in `wanted` are shown, when there are any, and then unset ones too.
pub(super) fn render(objects: &[Object], form: &Form, wanted: &[String]) -> String {
    let mut text = String::new();
    if matches!(form, Form::Stanza { .. }) {
        text.push_str("# <xCAT data object stanza file>\n");
    }
    for object in objects {
        let Object { name, kind, .. } = object;
        let heading = match form {
            Form::Names { loose: true } => format!("{name} ({kind})\n"),
            Form::Names { loose: false } => format!("{name}  ({kind})\n"),
            Form::Long { types: true } => format!("Object name: {name}  ({kind})\n"),
            Form::Long { types: false } => format!("Object name: {name}\n"),
            Form::Compressed => String::new(),
            Form::Stanza { names_only: true } => format!("\n{name}:\n"),
            Form::Stanza { names_only: false } => format!("\n{name}:\n    objtype={kind}\n"),
        };
        text.push_str(&heading);
        match form {
            Form::Names { .. } | Form::Stanza { names_only: true } => {}
            Form::Compressed => attributes(&mut text, &format!("{name}: "), object, wanted),
            Form::Long { .. } | Form::Stanza { names_only: false } => {
                attributes(&mut text, "    ", object, wanted);
            }
        }
    }
    text
}

fn attributes(text: &mut String, before: &str, object: &Object, wanted: &[String]) {
    let mut put = |attribute: &str, value: &str| {
        writeln!(text, "{before}{attribute}={value}").expect("a string takes any text");
    };
    if wanted.is_empty() {
        object.attributes.iter().for_each(|(attribute, value)| put(attribute, value));
        return;
    }
    let mut wanted: Vec<&String> = wanted.iter().collect();
    wanted.sort_unstable();
    wanted.dedup();
    for attribute in wanted {
        put(attribute, object.attributes.get(attribute).map_or("", String::as_str));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, kind: &'static str, attributes: &[(&str, &str)]) -> Object {
        let attributes = attributes.iter().map(|(a, v)| ((*a).to_owned(), (*v).to_owned())).collect();
        Object { name: name.to_owned(), kind, attributes }
    }

    fn objects() -> Vec<Object> {
        vec![
            object("img1", "osimage", &[("provmethod", "sysclone"), ("osarch", "x86_64")]),
            object("cn1", "node", &[("groups", "all,compute"), ("ip", "10.0.0.1")]),
        ]
    }

    #[test]
    fn names_carry_their_type() {
        assert_eq!(render(&objects(), &Form::Names { loose: false }, &[]), "img1  (osimage)\ncn1  (node)\n");
        assert_eq!(render(&objects(), &Form::Names { loose: true }, &[]), "img1 (osimage)\ncn1 (node)\n");
    }

    #[test]
    fn long_form_is_sorted_and_leaves_out_what_is_unset() {
        insta::assert_snapshot!(render(&objects(), &Form::Long { types: true }, &[]), @r"
        Object name: img1  (osimage)
            osarch=x86_64
            provmethod=sysclone
        Object name: cn1  (node)
            groups=all,compute
            ip=10.0.0.1
        ");
    }

    #[test]
    fn wanted_attributes_are_shown_though_unset() {
        let wanted = ["profile".to_owned(), "osarch".to_owned(), "osarch".to_owned()];
        insta::assert_snapshot!(render(&objects()[..1], &Form::Long { types: false }, &wanted), @r"
        Object name: img1
            osarch=x86_64
            profile=
        ");
        insta::assert_snapshot!(render(&objects()[..1], &Form::Compressed, &wanted), @r"
        img1: osarch=x86_64
        img1: profile=
        ");
    }

    #[test]
    fn stanzas_begin_with_the_type() {
        let whole = render(&objects(), &Form::Stanza { names_only: false }, &[]);
        assert_eq!(
            whole,
            "# <xCAT data object stanza file>\n\nimg1:\n    objtype=osimage\n    osarch=x86_64\n    \
             provmethod=sysclone\n\ncn1:\n    objtype=node\n    groups=all,compute\n    ip=10.0.0.1\n"
        );
        let names = render(&objects(), &Form::Stanza { names_only: true }, &[]);
        assert_eq!(names, "# <xCAT data object stanza file>\n\nimg1:\n\ncn1:\n");
    }
}
