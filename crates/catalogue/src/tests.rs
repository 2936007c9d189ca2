//! The catalogue as it is compiled in, wrong files with the sentences they get, requests, searches, and laws.

mod compiled;
mod laws;
mod requests;
mod searches;
mod wrong;

use crate::{Catalogue, DatabaseAccess, Engine};

/// The catalogue that is compiled in; says what is wrong with it when it is.
fn compiled() -> Catalogue {
    Catalogue::compiled().unwrap_or_else(|problems| panic!("{problems}"))
}

/// Secrets that can be told apart: `a…`, `b…`.
fn letters() -> impl FnMut(usize) -> String {
    let mut next = b'a'..=b'z';
    move |length| char::from(next.next().unwrap_or(b'z')).to_string().repeat(length)
}

/// A database with something special in its password.
fn database(engine: Engine) -> DatabaseAccess {
    let (host, name) = ("db-1.internal".to_owned(), "wiki".to_owned());
    DatabaseAccess { engine, host, port: 3306, name, user: "writer".to_owned(), password: "p@ss/word".to_owned() }
}
