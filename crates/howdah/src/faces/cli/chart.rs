//! A box with words in it.

use super::print::{BOLD, CYAN, paint_out};

/// Lines of a name and a value in a rounded box with a title.
pub fn boxed(title: &str, lines: &[(String, String)]) -> String {
    let names = lines.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
    let inner =
        lines.iter().map(|(_, value)| names + 2 + width(value)).chain([width(title) + 2]).max().unwrap_or(0);
    let rule = "─".repeat(inner.saturating_sub(width(title) + 1));
    let mut text = format!("╭─ {} {rule}╮\n", paint_out(title, BOLD));
    for (name, value) in lines {
        let gap = " ".repeat(names - width(name));
        let rest = " ".repeat(inner - names - 2 - width(value));
        text.push_str(&format!("│ {}{gap}  {value}{rest} │\n", paint_out(name, CYAN)));
    }
    text.push_str(&format!("╰{}╯\n", "─".repeat(inner + 2)));
    text
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_a_box_is_as_wide_as_the_others() {
        let lines = [("REST".to_owned(), "http://x".to_owned()), (String::new(), "größer".to_owned())];
        let text = boxed("app is up", &lines);
        let widths: Vec<usize> = text.lines().map(width).collect();
        assert!(widths.windows(2).all(|pair| pair[0] == pair[1]), "{text}");
    }
}
