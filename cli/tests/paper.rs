//! The manual and the completions: read by the programs that they are for.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod common;

use std::process::Command;

use common::{Place, Run};

#[test]
fn the_manual_has_a_page_for_every_verb_and_no_warning() {
    let place = Place::new();
    let main = place.run("man").exits(0).silent().stdout;
    assert_eq!(place.run("man pages").exits(0).silent().stdout, "");
    let names: Vec<_> = std::fs::read_dir(place.path("pages")).unwrap().collect();
    let mut names: Vec<_> =
        names.into_iter().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    for name in ["tallyport.1", "tallyport-export.1", "tallyport-serve.1", "tallyport-arena-gc.1"] {
        assert!(names.iter().any(|known| known == name), "{name}: {names:?}");
    }
    assert_eq!(place.read("pages/tallyport.1"), main);
    for name in names {
        let mut man = Command::new("man");
        man.args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"])
            .arg(place.path("pages").join(&name));
        let said = Run::of(man.env("MANROFFSEQ", "").env("MANWIDTH", "80").output().unwrap());
        let said = said.exits(0).silent();
        assert!(said.stdout.contains("tallyport"), "{name}");
    }
    place.write("taken", "");
    place.run("man taken").fails(10, &["taken"]);
}

/// What bash completes a line to.
fn completes(place: &Place, line: &str) -> Vec<String> {
    let script = format!(
        "source <(tallyport completions bash)\n\
         COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
         COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}\n\
         _tallyport tallyport \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\"\n"
    );
    let mut bash = Command::new("bash");
    let binary = env!("CARGO_BIN_EXE_tallyport");
    let function = format!("tallyport() {{ '{binary}' \"$@\"; }}\n");
    bash.current_dir(place.path("")).arg("-c").arg(function + &script);
    let said = Run::of(bash.output().unwrap()).exits(0).silent();
    said.stdout.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

#[test]
fn bash_completes_verbs_and_flags() {
    let place = Place::new();
    assert_eq!(completes(&place, "tallyport ser"), ["serve"]);
    assert_eq!(completes(&place, "tallyport arena i"), ["inspect"]);
    assert_eq!(completes(&place, "tallyport serve --lis"), ["--listen"]);
    assert_eq!(completes(&place, "tallyport export --report t"), ["text"]);
}

#[test]
fn every_shell_has_completions() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.run(&format!("completions {shell}")).exits(0).silent().stdout;
        assert!(script.contains("tallyport") && script.contains("serve"), "{shell}");
    }
    place.run("completions tcsh").fails(2, &["tcsh", "bash"]);
}
