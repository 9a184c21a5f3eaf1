//! `tercet serve` under a little of the load that `cargo xtask soak load` puts on it.

mod command;
#[path = "../../../xtask/src/load/mod.rs"]
mod load;

use std::time::Duration;

use command::command;
use load::requests::Known;
use load::server::Server;
use load::storm::Storm;
use load::streams::Streams;
use load::{burst, half_open, slow, storm, streams};

/// The server, with these arguments, and some requests with their answers.
fn start(arguments: &[&str]) -> (Server, Known) {
    let server = Server::start(command(), arguments).unwrap();
    let known = Known::find(&server, 8, 3).unwrap();
    (server, known)
}

#[test]
fn an_answer_is_the_same_in_company() {
    let (mut server, known) = start(&[]);
    let figures = streams::run(&server, &known, &Streams { clients: 8, time: Duration::ZERO }).unwrap();
    server.is_sound().unwrap();
    assert!(figures.to_string().starts_with("8 clients, 8 answers"), "{figures}");
}

#[test]
fn nothing_is_held_for_clients_who_have_gone() {
    let (mut server, known) = start(&[]);
    storm::run(&server, &known, &Storm { clients: 8, requests: 200, seed: 5 }).unwrap();
    server.is_sound().unwrap();
}

#[test]
fn everybody_is_answered_or_told_to_come_again() {
    let (mut server, _) = start(&["--parallel", "2", "--max-queue", "2"]);
    burst::run(&server, 100).unwrap();
    server.is_sound().unwrap();
}

#[test]
fn requests_without_an_end_are_closed_in_time() {
    let (mut server, _) = start(&["--header-timeout", "1"]);
    half_open::run(&server, 100, Duration::from_secs(1)).unwrap();
    server.is_sound().unwrap();
}

#[test]
fn a_client_who_does_not_read_is_cut_and_disturbs_nobody() {
    let (mut server, known) = start(&["--write-timeout", "1"]);
    let others = Streams { clients: 2, time: Duration::ZERO };
    slow::run(&server, &known, &others, Duration::from_secs(1)).unwrap();
    server.is_sound().unwrap();
}
