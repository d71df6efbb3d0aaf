//! What of a recorded interface does not hold any more.

use std::collections::BTreeSet;

use super::interface::{Interface, Struct};

/// A sentence for every promise that is broken.
///
/// Promised is: a function keeps its declaration, a constant its value, a field its place, size and
/// type. A struct that begins with its size may grow at its end; another one may not.
pub(super) fn broken(old: &Interface, new: &Interface) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, value) in &old.constants {
        match new.constants.get(name) {
            Some(now) if now == value => {}
            Some(now) => lines.push(format!("{name} was {value} and is {now}")),
            None => lines.push(format!("{name} ({value}) is gone")),
        }
    }
    for (name, text) in &old.functions {
        match new.functions.get(name) {
            Some(now) if now == text => {}
            Some(now) => lines.push(format!("{name} was declared `{text}` and is `{now}`")),
            None => lines.push(format!("{name} is gone")),
        }
    }
    for (name, was) in &old.structs {
        match new.structs.get(name) {
            Some(now) => changed(name, was, now, &mut lines),
            None => lines.push(format!("struct {name} is gone")),
        }
    }
    lines
}

fn changed(name: &str, was: &Struct, now: &Struct, lines: &mut Vec<String>) {
    for (index, (field, about)) in was.fields.iter().enumerate() {
        match now.fields.get(index) {
            Some((same, now)) if same == field && now == about => {}
            Some((other, now)) => lines.push(format!(
                "{name}: field {index} was `{}` at {} and is `{}` ({other}) at {}",
                about.declaration, about.offset, now.declaration, now.offset
            )),
            None => lines.push(format!("{name}.{field} is gone")),
        }
    }
    let first = was.fields.first().map_or("", |(field, _)| field.as_str());
    let grows = matches!(first, "size" | "struct_size");
    if now.size < was.size || (now.size > was.size && !grows) {
        lines.push(format!("{name} had {} bytes and has {}", was.size, now.size));
    }
}

/// How many lines of an interface were not recorded.
pub(super) fn added(old: &Interface, new: &Interface) -> usize {
    let known: BTreeSet<String> = old.lines().collect();
    new.lines().filter(|line| !known.contains(line)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = "\
const TALLYPORT_OK 0
fn tallyport_status tallyport_open(const tallyport_options *options)
struct tallyport_label 16
field tallyport_label.name 0 16 tallyport_str name
struct tallyport_options 16
field tallyport_options.size 0 4 uint32_t size
field tallyport_options.flags 4 4 uint32_t flags
field tallyport_options.level 8 8 uint64_t level
";

    fn against(from: &str, to: &str) -> Vec<String> {
        let changed = RECORD.replace(from, to);
        assert_ne!(changed, RECORD, "the planted change is none");
        broken(&RECORD.parse().unwrap(), &changed.parse().unwrap())
    }

    #[test]
    fn a_record_is_read_back_as_it_was_written() {
        let interface: Interface = RECORD.parse().unwrap();
        assert_eq!(interface.to_string(), RECORD);
        assert!("field nonsense".parse::<Interface>().is_err());
    }

    #[test]
    fn what_is_added_breaks_nothing() {
        let more = "fn void tallyport_new(void)\nconst TALLYPORT_MORE 1\nstruct tallyport_label";
        let old: Interface = RECORD.parse().unwrap();
        let new = RECORD.replace("struct tallyport_label", more);
        let new = new.replace("struct tallyport_options 16", "struct tallyport_options 24")
            + "field tallyport_options.more 16 8 uint64_t more\n";
        let new: Interface = new.parse().unwrap();
        assert_eq!(broken(&old, &new), [""; 0]);
        assert_eq!(added(&old, &new), 4);
    }

    #[test]
    fn every_change_of_what_was_recorded_is_named() {
        for (from, to, said) in [
            ("TALLYPORT_OK 0", "TALLYPORT_OK 1", "TALLYPORT_OK was 0 and is 1"),
            ("const TALLYPORT_OK 0\n", "", "TALLYPORT_OK (0) is gone"),
            ("const tallyport_options *", "tallyport_options *", "tallyport_open was declared"),
            ("fn tallyport_status tallyport_open", "fn void tallyport_close", "tallyport_open is"),
            ("field tallyport_options.level 8 8 uint64_t level\n", "", "options.level is gone"),
            ("level 8 8 uint64_t", "level 8 8 int64_t", "field 2 was `uint64_t level` at 8"),
            ("flags 4 4", "flags 4 2", "field 1 was `uint32_t flags`"),
            ("tallyport_label 16", "tallyport_label 24", "had 16 bytes and has 24"),
            ("tallyport_options 16", "tallyport_options 12", "had 16 bytes and has 12"),
        ] {
            let lines = against(from, to);
            assert!(lines.iter().any(|line| line.contains(said)), "{from}: {lines:?}");
        }
    }
}
