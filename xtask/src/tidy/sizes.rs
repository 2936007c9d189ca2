//! Sizes: lines of files and functions, parameters, methods of traits, the opening comment. "Numbers for the house".

use super::{
    Finding,
    house::House,
    source::{Source, is_for_tests},
    stats::{Size, Stats},
};
use syn::{
    FnArg, ImplItemFn, ItemFn, ItemImpl, ItemMod, ItemTrait, Signature, TraitItem, TraitItemFn,
    spanned::Spanned as _,
    token::Brace,
    visit::{self, Visit},
};

/// Most lines in a file, without its tests.
const MAX_FILE_LINES: usize = 600;
/// Most lines in a function, from `fn` to the closing brace.
const MAX_FUNCTION_LINES: usize = 70;
/// Most parameters beside `self`; more become a struct.
const MAX_PARAMETERS: usize = 4;
/// Most methods in a trait.
const MAX_METHODS: usize = 8;
/// Most lines in all of `base`, so that it stays what could have been in the standard library.
const MAX_BASE_LINES: usize = 1_500;

/// What is too large, and how large everything is.
pub struct Sizes {
    /// Against the limits.
    pub findings: Vec<Finding>,
    /// Of everything that is not a test.
    pub stats: Stats,
}

/// Measures all sources.
pub fn measure(house: &House) -> Sizes {
    let mut sizes = Sizes { findings: Vec::new(), stats: Stats::default() };
    for (path, source) in &house.sources {
        sizes.findings.extend(opening(path, source));
        if !source.test {
            measure_source(path, source, &mut sizes);
        }
    }
    sizes.findings.extend(base(house));
    sizes
}

fn opening(path: &str, source: &Source) -> Option<Finding> {
    let says = "does not open with a module comment: begin with `//!` and what the file is for";
    (!source.text.starts_with("//!")).then(|| Finding::new(path, 1, "opening", says))
}

fn measure_source(path: &str, source: &Source, sizes: &mut Sizes) {
    let lines = source.lines();
    sizes.stats.files.push(Size { lines, name: path.to_owned() });
    if lines > MAX_FILE_LINES {
        let says =
            format!("the file has {lines} lines without its tests, over the limit of {MAX_FILE_LINES}: split it by subject");
        sizes.findings.push(Finding::new(path, 1, "file-lines", says).measured(lines));
    }
    Walk { path, owner: None, dictated: false, sizes }.visit_file(&source.syntax);
}

fn base(house: &House) -> Option<Finding> {
    let base = house.packages.iter().find(|package| package.directory == "crates/base")?;
    let lines: usize = house.sources_of(base).filter(|(_, source)| !source.test).map(|(_, source)| source.lines()).sum();
    let says = format!("base has {lines} lines, over the limit of {MAX_BASE_LINES}: move out what knows too much");
    (lines > MAX_BASE_LINES).then(|| Finding::new(&base.manifest_path, 1, "base-lines", says).measured(lines))
}

/// Goes through a file, leaving out its tests.
struct Walk<'a> {
    path: &'a str,
    /// The type or trait whose functions these are.
    owner: Option<String>,
    /// A trait dictates the signatures here.
    dictated: bool,
    sizes: &'a mut Sizes,
}

impl Walk<'_> {
    fn found(&mut self, line: usize, rule: String, sentence: String, number: usize) {
        self.sizes.findings.push(Finding::new(self.path, line, rule, sentence).measured(number));
    }

    fn name(&self, signature: &Signature) -> String {
        self.owner.as_ref().map_or_else(|| signature.ident.to_string(), |owner| format!("{owner}::{}", signature.ident))
    }

    fn body(&mut self, signature: &Signature, braces: Brace) {
        let (name, line) = (self.name(signature), signature.fn_token.span.start().line);
        let lines = braces.span.close().end().line - line + 1;
        if lines > MAX_FUNCTION_LINES {
            let says =
                format!("`{name}` has {lines} lines, over the limit of {MAX_FUNCTION_LINES}: split it into steps with names");
            self.found(line, format!("function-lines/{name}"), says, lines);
        }
        self.sizes.stats.functions.push(Size { lines, name: format!("{}: {name}", self.path) });
    }

    fn parameters(&mut self, signature: &Signature) {
        let count = signature.inputs.iter().filter(|input| matches!(input, FnArg::Typed(_))).count();
        if count > MAX_PARAMETERS && !self.dictated {
            let name = self.name(signature);
            let says = format!("`{name}` takes {count} parameters, over the limit of {MAX_PARAMETERS}: make them a struct");
            self.found(signature.fn_token.span.start().line, format!("parameters/{name}"), says, count);
        }
    }

    fn owned(&mut self, owner: String, dictated: bool, go: impl FnOnce(&mut Self)) {
        let outside = (self.owner.replace(owner), self.dictated);
        self.dictated = dictated;
        go(self);
        (self.owner, self.dictated) = outside;
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
            self.parameters(&function.sig);
            self.body(&function.sig, function.block.brace_token);
            visit::visit_item_fn(self, function);
        }
    }

    fn visit_item_impl(&mut self, implementation: &'ast ItemImpl) {
        if !is_for_tests(&implementation.attrs) {
            let owner = type_name(&implementation.self_ty);
            self.owned(owner, implementation.trait_.is_some(), |walk| visit::visit_item_impl(walk, implementation));
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        if !is_for_tests(&function.attrs) {
            self.parameters(&function.sig);
            self.body(&function.sig, function.block.brace_token);
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_item_trait(&mut self, item: &'ast ItemTrait) {
        let methods = item.items.iter().filter(|item| matches!(item, TraitItem::Fn(_))).count();
        if methods > MAX_METHODS {
            let says = format!(
                "the trait `{}` has {methods} methods, over the limit of {MAX_METHODS}: split it by who calls them",
                item.ident
            );
            self.found(item.trait_token.span.start().line, format!("trait-methods/{}", item.ident), says, methods);
        }
        self.owned(item.ident.to_string(), false, |walk| visit::visit_item_trait(walk, item));
    }

    fn visit_trait_item_fn(&mut self, function: &'ast TraitItemFn) {
        self.parameters(&function.sig);
        if let Some(block) = &function.default {
            self.body(&function.sig, block.brace_token);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

/// `Foo` of `a::Foo<T>`; the source text of types that have no name.
fn type_name(ty: &syn::Type) -> String {
    match ty {
        syn::Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default(),
        other => other.span().source_text().unwrap_or_default().split_whitespace().collect(),
    }
}
