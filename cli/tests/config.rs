//! `tallyport config`: every problem at once, each with its place.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod common;

use common::{Place, plugin};

const CHECK: &str = "config check -c t.toml";

#[test]
fn a_valid_file_is_one_line_on_stderr() {
    let place = Place::new();
    place.write("t.toml", "schema = 1\n[plugins.csv]\n[plugins.json]\nenabled = false\n");
    let run =
        place.run(CHECK).exits(0).says(&["`t.toml` is valid", "1 plugin enabled, 1 disabled"]);
    assert_eq!((run.stdout.as_str(), run.stderr.lines().count()), ("", 1));
    place.run(&format!("{CHECK} --quiet")).exits(0).silent();
}

#[test]
fn every_problem_is_a_line_with_its_place_and_the_nearest_name() {
    let place = Place::new();
    let text = "schema = 1\nservce_name = \"x\"\n\n[limits]\nmax_series = 0\n\n\
                [plugins.csv]\noptoins = { }\n  requird = true\n";
    place.write("t.toml", text);
    let run = place.run(CHECK).fails(3, &["tallyport: config: 4 problems in `t.toml`"]);
    let lines: Vec<_> = run.stderr.lines().skip(1).collect();
    let expected = [
        ("t.toml:2:1: ", "(did you mean `service_name`?)"),
        ("t.toml:5:14: ", "limits.max_series"),
        ("t.toml:8:1: ", "(did you mean `options`?)"),
        ("t.toml:9:3: ", "(did you mean `required`?)"),
    ];
    assert_eq!(lines.len(), expected.len(), "{run:#?}");
    for (line, (place, text)) in lines.iter().zip(expected) {
        assert!(line.starts_with(place) && line.contains(text), "{line}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_an_invalid_configuration() {
    let place = Place::new();
    place.run(CHECK).fails(3, &["t.toml: cannot be read", "No such file"]);
    place.write("t.toml", b"schema = 1 # \xff\n");
    place.run(CHECK).fails(3, &["t.toml:1:14: ", "UTF-8"]);
    place.write("t.toml", "schema = \n[plugins\n");
    place.run(CHECK).fails(3, &["t.toml:1:", "t.toml:2:"]);
    place.write("t.toml", vec![b'#'; 2 << 20]);
    place.run(CHECK).fails(3, &["larger than"]);
    place.run("config check").fails(2, &["--config FILE", "$TALLYPORT_CONFIG"]);
}

#[test]
fn options_of_built_in_exporters_are_checked_too() {
    let place = Place::new();
    place.write(
        "t.toml",
        "schema = 1\n[plugins.csv]\noptions = { seperator = \";\" }\n[plugins.exel]\n",
    );
    let run = place.run(CHECK);
    run.fails(3, &["t.toml:3:13: ", "(did you mean `separator`?)", "t.toml:4: plugin `exel`"]);
}

#[test]
fn plugin_files_are_looked_at_and_run_only_when_asked() {
    let place = Place::new();
    place.config("mine", "refuse = true");
    let check = "config check -c tallyport.toml";
    place.run(check).exits(0);
    place.run(&format!("{check} --load")).fails(9, &["plugin `mine`", "refused, as told"]);
    place.config("mine", "repeat = \"often\", panc = 1");
    place.run(check).exits(0);
    let wrong = ["tallyport.toml:5:", "repeat", "panc", "did you mean `panic`?"];
    place.run(&format!("{check} --load")).fails(3, &wrong);

    place.write("broken.so", &std::fs::read(plugin()).unwrap()[..5000]);
    place.write(
        "t.toml",
        "schema = 1\n[plugins.b]\npath = \"broken.so\"\n[plugins.a]\npath = \"x\"\n",
    );
    for load in ["", " --load"] {
        let refused =
            ["2 problems", "t.toml:2: plugin `b`", "t.toml:4: plugin `a`", "no plugin file"];
        let run = place.run(&format!("{CHECK}{load}")).fails(9, &refused);
        let lines: Vec<_> = run.stderr.lines().skip(1).map(|line| &line[..9]).collect();
        assert_eq!(lines, ["t.toml:2:", "t.toml:4:"]);
    }
}

#[test]
fn the_schema_is_json_that_describes_every_key() {
    let schema = Place::new().run("config schema").exits(0).silent().json();
    assert!(schema["$schema"].as_str().unwrap().contains("json-schema.org"));
    let properties = schema["properties"].as_object().unwrap();
    for key in ["schema", "service_name", "limits", "histogram", "log", "plugins"] {
        let description = properties[key]["description"].as_str();
        assert!(description.is_some_and(|text| !text.is_empty()), "{key}");
    }
}

#[test]
fn options_are_checked_although_other_keys_are_wrong() {
    let place = Place::new();
    let text = "schema = 1\nservce_name = \"x\"\n[limits]\nmax_series = 0\n\
                [plugins.csv]\noptions = { seperator = \";\" }\n\
                [plugins.json]\nrequird = true\noptions = { prety = true }\n";
    place.write("t.toml", text);
    let run = place.run(CHECK).fails(3, &["4 problems in `t.toml`"]);
    let lines: Vec<_> = run.stderr.lines().skip(1).collect();
    let expected = [
        ("t.toml:2:1: ", "service_name"),
        ("t.toml:4:14: ", "limits.max_series"),
        ("t.toml:6:", "(did you mean `separator`?)"),
        // What options a plugin has is not known where its own keys are wrong.
        ("t.toml:8:1: ", "(did you mean `required`?)"),
    ];
    assert_eq!(lines.len(), expected.len(), "{run:#?}");
    for (line, (place, text)) in lines.iter().zip(expected) {
        assert!(line.starts_with(place) && line.contains(text), "{line}");
    }
}
