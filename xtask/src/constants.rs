//! Constants as C spells them: cbindgen writes bare literals, so the types come from the source.
//!
//! Owns the mapping from a Rust integer type to a C literal; knows nothing of headers' layout.

use std::collections::BTreeMap;

/// Type of each `pub const` that stands at the start of a line.
pub(crate) fn types(source: &str) -> BTreeMap<String, String> {
    let declared = source.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("pub const ")?.split_once(':')?;
        let (ty, _) = rest.split_once('=')?;
        Some((name.trim().to_owned(), ty.trim().to_owned()))
    });
    declared.collect()
}

/// Gives each `#define NAME LITERAL` of `header` the suffix that its Rust type asks for.
///
/// # Errors
/// A constant of a type that has no C spelling here.
pub(crate) fn typed(header: &str, types: &BTreeMap<String, String>) -> Result<String, String> {
    let mut out = String::with_capacity(header.len());
    for line in header.lines() {
        let define = line.strip_prefix("#define ").and_then(|rest| rest.split_once(' '));
        match define.and_then(|(name, value)| Some((name, value, types.get(name)?))) {
            Some((name, value, ty)) => {
                let literal = literal(name, value, ty)?;
                out.push_str(&format!("#define {name} {literal}\n"));
            }
            None => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    Ok(out)
}

fn literal(name: &str, value: &str, ty: &str) -> Result<String, String> {
    // Past 16 bits a number is a mask or a magic, which nobody reads in decimal.
    let wide = value.parse::<u64>().ok().filter(|&number| number > 0xffff);
    let number = wide.map_or_else(|| value.to_owned(), |number| format!("0x{number:X}"));
    match ty {
        // An expression of other constants, which have their suffixes already.
        _ if value.starts_with('(') => Ok(value.to_owned()),
        "i32" | "tallyport_status" if value.starts_with('-') => Ok(format!("({value})")),
        "i32" | "tallyport_status" => Ok(value.to_owned()),
        "u32" => Ok(format!("{number}u")),
        "u64" => Ok(format!("UINT64_C({number})")),
        "i64" => Ok(format!("INT64_C({value})")),
        "usize" => Ok(format!("((size_t){value})")),
        "&str" => Ok(value.to_owned()),
        _ => Err(format!("constant {name}: no C spelling for the type {ty}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_integer_type_gets_its_c_spelling() {
        let source = "pub const A: i32 = -1;\npub const B: u32 = 2;\npub const C: u64 = 70000;\n";
        let header = "#define A -1\n#define B 2\n#define C 70000\n#define OTHER(x) 3\n";
        let typed = typed(header, &types(source)).unwrap();
        assert_eq!(
            typed,
            "#define A (-1)\n#define B 2u\n#define C UINT64_C(0x11170)\n#define OTHER(x) 3\n"
        );
    }

    #[test]
    fn a_type_without_a_spelling_is_refused() {
        let types = types("pub const A: f64 = 1.0;");
        assert!(typed("#define A 1.0", &types).unwrap_err().contains("f64"));
    }
}
