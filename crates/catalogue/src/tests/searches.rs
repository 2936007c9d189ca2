//! What is found, in which order, and what is suggested instead.

use super::compiled;

fn found(words: &str) -> Vec<String> {
    compiled().search(words).apps.iter().map(|app| app.id.clone()).collect()
}

fn near(words: &str) -> Vec<String> {
    compiled().search(words).near.iter().map(|id| (*id).to_owned()).collect()
}

#[test]
fn names_come_before_what_apps_are_for() {
    assert_eq!(found("wordpress"), ["wordpress"]);
    assert_eq!(found("PostgreSQL")[0], "postgresql");
    assert_eq!(found("git")[..4], ["gitea", "gitlab", "forgejo", "gogs"]);
    assert!(found("postgresql").contains(&"pgadmin".to_owned()));
    assert!(found("blog").contains(&"ghost".to_owned()));
}

#[test]
fn every_word_must_stand_somewhere() {
    assert_eq!(found("git small"), ["gitea", "gogs"]);
    assert_eq!(found("wordpress small"), Vec::<String>::new());
    assert_eq!(found("").len(), compiled().apps().count());
    assert_eq!(found("  ").len(), compiled().apps().count());
}

#[test]
fn mistypes_are_understood() {
    assert_eq!(near("wordpres"), Vec::<String>::new(), "it is the beginning of a name");
    assert_eq!(near("worpdress"), ["wordpress"]);
    assert_eq!(near("nextclud"), ["nextcloud"]);
    assert_eq!(near("maria db"), Vec::<String>::new(), "both words stand somewhere");
    assert_eq!(near("posgresql x"), ["postgresql"]);
    assert_eq!(near("qqqqqqqqq"), Vec::<String>::new());
    assert_eq!(near("wordpress"), Vec::<String>::new(), "it was found");
}

#[test]
fn what_an_app_needs_comes_first() {
    let catalogue = compiled();
    let needed = |id: &str| catalogue.needed(id).iter().map(|app| app.id.clone()).collect::<Vec<_>>();
    assert_eq!(needed("zulip"), ["memcached", "rabbitmq", "redis"]);
    assert_eq!(needed("redis"), Vec::<String>::new());
    assert_eq!(needed("nobody"), Vec::<String>::new());
    let file = |title: &str, needs: &[&str]| {
        let needs: String = needs.iter().map(|need| format!("[[needs]]\napp = {need:?}\n")).collect();
        format!(
            "title = {title:?}\nsummary = \"x\"\ncategory = \"x\"\nhome = \"https://x.org\"\nlicence = \"x\"\n\
             image = \"x.org/x:1\"\nknown = \"x\"\n{needs}"
        )
    };
    let files = [("a", file("A1", &["b", "c"])), ("b", file("B1", &["d"])), ("c", file("C1", &["b"])), ("d", file("D1", &[]))];
    let catalogue = catalogue.extended(files.iter().map(|(id, text)| (*id, text.as_str()))).unwrap_or_else(|why| panic!("{why}"));
    let needed: Vec<_> = catalogue.needed("a").iter().map(|app| app.id.as_str()).collect();
    assert_eq!(needed, ["d", "b", "c"]);
}
