//! Manifests, indexes and configurations of images: what was read and is written is read as the same.

use image::manifest::{self, Configuration, Document, MAX_LAYERS};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;

const WHAT: &str = "the document";

/// The same bytes as each of them.
pub fn holds(bytes: &[u8]) {
    match Document::parse(bytes, WHAT) {
        Ok(document) => document_holds(document),
        Err(error) => crate::sentence(&error),
    }
    match manifest::parse::<Configuration>(bytes, WHAT) {
        Ok(configuration) => configuration_holds(bytes, &configuration),
        Err(error) => crate::sentence(&error),
    }
}

fn document_holds(document: Document) {
    written_is_read_again(&document);
    for descriptor in document.descriptors() {
        let hex = descriptor.digest.hex();
        assert!(hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()), "{hex:?} is no file name");
    }
    match manifest::choose(&document.manifests, WHAT) {
        Ok(chosen) => assert!(document.manifests.contains(chosen)),
        Err(error) => crate::sentence(&error),
    }
    match document.manifest(WHAT) {
        Ok(image) => {
            assert!((1..=MAX_LAYERS).contains(&image.layers.len()));
            match Document::write(image.config.clone(), image.layers.clone()).map(|bytes| Document::parse(&bytes, WHAT)) {
                Ok(Ok(again)) => assert_eq!(again.manifest(WHAT).ok(), Some(image)),
                other => panic!("a manifest of the same parts is refused: {other:?}"),
            }
        }
        Err(error) => crate::sentence(&error),
    }
}

fn configuration_holds(bytes: &[u8], configuration: &Configuration) {
    written_is_read_again(configuration);
    let layers = configuration.rootfs.diff_ids.len();
    assert!(Configuration::parse(bytes, layers).is_ok_and(|again| again == *configuration));
    assert!(Configuration::parse(bytes, layers + 1).is_err(), "a configuration fits two numbers of layers");
    if let Err(error) = configuration.fits(WHAT) {
        crate::sentence(&error);
    }
    let summary = configuration.summary();
    written_is_read_again(&summary);
}

fn written_is_read_again<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    match manifest::write(value).map(|bytes| manifest::parse::<T>(&bytes, WHAT)) {
        Ok(Ok(again)) => assert_eq!(&again, value),
        other => panic!("what was written is refused: {other:?}"),
    }
}
