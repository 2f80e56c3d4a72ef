//! The style sheet: one file, small, and without nesting, which browsers from before 2023 do not know.

use anyhow::{Context, Result, anyhow};
use lightningcss::printer::PrinterOptions;
use lightningcss::stylesheet::{MinifyOptions, ParserOptions, StyleSheet};
use lightningcss::targets::{Features, Targets};
use std::fs;
use std::path::Path;

/// The file with everything that it imports.
pub fn bundle(file: &Path) -> Result<String> {
    let text = inline(file)?;
    let targets = Targets { browsers: None, include: Features::Nesting, exclude: Features::empty() };
    let wrong = |e: &dyn std::fmt::Display| anyhow!("{}: {e}", file.display());
    let mut sheet = StyleSheet::parse(&text, ParserOptions::default()).map_err(|e| wrong(&e))?;
    sheet.minify(MinifyOptions { targets, ..MinifyOptions::default() }).map_err(|e| wrong(&e))?;
    let options = PrinterOptions { minify: true, targets, ..PrinterOptions::default() };
    Ok(sheet.to_css(options).map_err(|e| wrong(&e))?.code)
}

/// The text of the file, with the text of each imported file in the place of its `@import`.
fn inline(file: &Path) -> Result<String> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut bundled = String::new();
    for line in text.lines() {
        let imported = line.strip_prefix("@import \"").and_then(|rest| rest.strip_suffix("\";"));
        match imported {
            Some(name) => bundled.push_str(&inline(&file.with_file_name(name))?),
            None => bundled.push_str(line),
        }
        bundled.push('\n');
    }
    Ok(bundled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_stand_in_their_order_and_nothing_is_nested() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        file("main.css", "/* All. */\n@import \"a.css\";\n@import \"b.css\";\n");
        file("a.css", ".a { color: red; &:hover { color: blue } }");
        file("b.css", ".a { color: green }");
        let css = bundle(&folder.path().join("main.css")).unwrap();
        assert_eq!(css, ".a{color:red}.a:hover{color:#00f}.a{color:green}");
        file("b.css", "} .a {");
        assert!(bundle(&folder.path().join("main.css")).is_err());
        assert!(bundle(&folder.path().join("no-such.css")).is_err());
    }
}
