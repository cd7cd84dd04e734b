//! What a host agent does with lamina: stores a memory file and a diff of it, reads the second
//! snapshot in place, merges its layers, verifies it, and lists the store.
//!
//!     cargo run --example agent FULL DIFF STORE

use lamina::{Error, IngestOptions, ListOptions, MergeOptions, Progress, Store, VerifyOptions};
use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

fn store_memory(store: &Store, file: &OsStr, snapshot: &str, parent: &str) -> Result<(), Error> {
    let report = store.ingest(&IngestOptions {
        memory_file: file,
        snapshot: snapshot.as_ref(),
        parent: parent.as_ref(),
        ..Default::default()
    })?;
    println!("{snapshot}: {} blocks stored in layer {}", report.stored_blocks(), report.build_id());
    for note in report.notes() {
        eprintln!("{note}");
    }
    Ok(())
}

/// Adds up the bytes of the memory. The reader keeps the state that it has opened.
fn sum_of(store: &Store, snapshot: &str) -> Result<u64, Error> {
    let reader = store.read(snapshot)?;
    let end = reader.memory_bytes()?;
    let mut buffer = vec![0; 64 << 10];
    let (mut sum, mut offset) = (0, 0);
    while offset < end {
        let length = buffer.len().min((end - offset) as usize);
        reader.read(offset, &mut buffer[..length])?;
        sum += buffer[..length].iter().map(|&byte| u64::from(byte)).sum::<u64>();
        offset += length as u64;
    }
    Ok(sum)
}

/// In a thread of its own, with a progress that this one could show, or cancel.
fn verify(store: &Store, snapshot: &str) -> Result<bool, Error> {
    let progress = Progress::new()?;
    let options = VerifyOptions { snapshot: snapshot.as_ref(), progress: Some(&progress), ..Default::default() };
    let verified = std::thread::scope(|scope| {
        scope.spawn(|| store.verify(&options)).join().expect("the thread has not panicked")
    })?;
    let state = progress.state()?;
    println!("{snapshot}: {}, {} of {} bytes", state.phase, state.done_bytes, state.total_bytes);
    for problem in verified.problems() {
        eprintln!("{problem}");
    }
    Ok(verified.is_intact())
}

fn run(full: &OsStr, diff: &OsStr, directory: &OsStr) -> Result<bool, Error> {
    let store = Store::open(directory)?;
    store_memory(&store, full, "vm-1", "")?;
    store_memory(&store, diff, "vm-2", "vm-1")?;
    let before = sum_of(&store, "vm-2")?;
    let merged = store.merge(&MergeOptions { snapshot: "vm-2".as_ref(), ..Default::default() })?;
    println!("vm-2: {} layers, then {}", merged.layers_before(), merged.layers_after());
    let is_intact = verify(&store, "vm-2")? && sum_of(&store, "vm-2")? == before;
    for snapshot in store.list(&ListOptions::default())?.snapshots() {
        match snapshot.error() {
            Some(error) => println!("{}: cannot be used: {error}", snapshot.name()),
            None => println!("{}: {} layers, {} bytes of its own", snapshot.name(), snapshot.layers(), snapshot.own_bytes()),
        }
    }
    println!("sum of the memory's bytes: {before}");
    Ok(is_intact)
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (full, diff, directory) = if let [full, diff, directory] = &arguments[..] {
        (full, diff, directory)
    } else {
        eprintln!("usage: agent FULL DIFF STORE (lamina {})", lamina::version());
        return ExitCode::from(2);
    };
    match run(full, diff, directory) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("agent: the snapshot is damaged");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("agent: {error}");
            ExitCode::FAILURE
        }
    }
}
