//! Text that has no place in the house: unfinished work and left-over debugging outside tests, ignored tests anywhere.

use super::{
    Finding,
    house::House,
    source::{Source, is_for_tests},
};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::{
    ImplItemFn, ItemFn, ItemMod, Macro,
    visit::{self, Visit},
};

/// Macros, with what to do instead.
const MACROS: [(&str, &str); 3] = [
    ("todo", "finish it, or leave it out"),
    ("unimplemented", "finish it, or return an error that says so"),
    ("dbg", "remove it, or use tracing"),
];

/// Looks through all sources.
pub fn check(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, source) in &house.sources {
        ignored_tests(path, source, &mut findings);
        if !source.test {
            Walk { path, findings: &mut findings }.visit_file(&source.syntax);
        }
    }
    findings
}

struct Walk<'a> {
    path: &'a str,
    findings: &'a mut Vec<Finding>,
}

impl Walk<'_> {
    fn name(&mut self, name: &proc_macro2::Ident) {
        if let Some((banned, instead)) = MACROS.iter().find(|(banned, _)| name == banned) {
            let line = name.span().start().line;
            self.findings.push(Finding::new(
                self.path,
                line,
                format!("banned/{banned}"),
                format!("`{banned}!` outside tests: {instead}"),
            ));
        }
    }

    /// What is handed to macros is not parsed, so `select! { … }` is looked through token by token.
    fn tokens(&mut self, stream: TokenStream) {
        let tokens: Vec<_> = stream.into_iter().collect();
        for (index, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Ident(name) if is_punct(tokens.get(index + 1), '!') && is_group(tokens.get(index + 2)) => {
                    self.name(name)
                }
                TokenTree::Group(group) => self.tokens(group.stream()),
                _ => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Walk<'_> {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if !is_for_tests(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        if !is_for_tests(&function.attrs) {
            visit::visit_item_fn(self, function);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        if !is_for_tests(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        if let Some(segment) = call.path.segments.last() {
            self.name(&segment.ident);
        }
        self.tokens(call.tokens.clone());
    }
}

fn is_punct(token: Option<&TokenTree>, character: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == character)
}

const fn is_group(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Group(_)))
}

fn ignored_tests(path: &str, source: &Source, findings: &mut Vec<Finding>) {
    let stream: TokenStream = source.text.parse().unwrap_or_default();
    let mut lines = Vec::new();
    find_ignore(stream, &mut lines);
    let says = "an ignored test proves nothing: make it run, or remove it";
    findings.extend(lines.into_iter().map(|line| Finding::new(path, line, "banned/ignore", says)));
}

fn find_ignore(stream: TokenStream, lines: &mut Vec<usize>) {
    let mut hash = false;
    for token in stream {
        if let TokenTree::Group(group) = &token {
            let first = group.stream().into_iter().next();
            let ignore = matches!(&first, Some(TokenTree::Ident(name)) if name == "ignore");
            if hash && group.delimiter() == Delimiter::Bracket && ignore {
                lines.push(group.span_open().start().line);
            }
            find_ignore(group.stream(), lines);
        }
        hash = is_punct(Some(&token), '#');
    }
}
