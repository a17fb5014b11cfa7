//! Text loops in shaders: what a register tile needs and WGSL has no word for.
//!
//! A line `//@ for v in N` and its `//@ end` enclose lines that are written N times, with `${v}` standing
//! for the index. Registers are then plain variables, which every compiler keeps apart; an array that a
//! loop indexes may land in memory.

/// Writes every text loop out; `size` gives the value of a name in `in N`.
///
/// A name without a value, or an `end` too few, leaves the text as it is from there on, which no shader
/// compiler accepts: the tests compile every kernel.
pub(super) fn expand(text: &str, size: &impl Fn(&str) -> Option<u32>) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut out = String::with_capacity(text.len());
    write(&lines, size, &[], &mut out);
    out
}

fn write<'a>(
    lines: &[&'a str],
    size: &impl Fn(&str) -> Option<u32>,
    indices: &[(&'a str, u32)],
    out: &mut String,
) {
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        at += 1;
        let head = line.trim().strip_prefix("//@ for ").and_then(|rest| rest.split_once(" in "));
        let (Some((name, count)), Some(length)) = (head, body(&lines[at..])) else {
            let mut line = line.to_owned();
            for (name, index) in indices {
                line = line.replace(&format!("${{{name}}}"), &index.to_string());
            }
            out.push_str(&line);
            out.push('\n');
            continue;
        };
        for index in 0..size(count).unwrap_or(0) {
            let mut inner = indices.to_vec();
            inner.push((name, index));
            write(&lines[at..at + length], size, &inner, out);
        }
        at += length + 1;
    }
}

/// Returns the lines up to the `end` of a loop that starts just before.
fn body(lines: &[&str]) -> Option<usize> {
    let mut depth = 1;
    for (index, line) in lines.iter().enumerate() {
        let line = line.trim();
        if line.starts_with("//@ for ") {
            depth += 1;
        } else if line == "//@ end" {
            depth -= 1;
            if depth == 0 {
                return Some(index);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_nest_and_indices_are_written() {
        let text = "a\n//@ for q in N\n//@ for r in M\nx_${q}_${r}\n//@ end\ny${q}\n//@ end\nb";
        let size = |name: &str| Some(if name == "N" { 2 } else { 1 });
        assert_eq!(expand(text, &size), "a\nx_0_0\ny0\nx_1_0\ny1\nb\n");
    }

    #[test]
    fn an_unknown_size_writes_nothing() {
        assert_eq!(expand("//@ for q in N\nx\n//@ end\nb", &|_: &str| None), "b\n");
    }
}
