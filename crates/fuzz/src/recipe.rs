//! Flockport recipes: they compile to a Dockerfile that says the same when it is printed and read, and that can be planned.

use crate::dockerfile;

/// Reads; what it compiles to holds what Dockerfiles hold.
pub fn holds(bytes: &[u8]) {
    let Some(text) = crate::text(bytes) else { return };
    match ::recipe::parse_recipe(text) {
        Ok(recipe) => {
            dockerfile::printed_is_read_again(&recipe.build);
            dockerfile::builds(&recipe.build);
            assert!(recipe.services.iter().all(|service| service.port > 0), "a service at port 0");
        }
        Err(error) => crate::sentence(&error),
    }
}
