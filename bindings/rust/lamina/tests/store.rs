//! What a program does with a store, and what it is told when it asks for nonsense.

use lamina::*;
use std::fs;
use std::os::unix::io::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A directory with a store in it, removed at the end.
struct Scene {
    root: PathBuf,
    store: Store,
}

impl Scene {
    fn new() -> Scene {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("lamina-rust-{}-{number}", std::process::id()));
        fs::create_dir_all(root.join("store")).unwrap();
        let store = Store::open(root.join("store")).unwrap();
        Scene { root, store }
    }

    fn ingest(&self, name: &str, memory: &[u8]) -> Report<IngestReport> {
        self.store.ingest(&IngestOptions { memory, snapshot: name.as_ref(), ..Default::default() }).unwrap()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn memory() -> Vec<u8> {
    (0..8 * 4096u32).map(|i| if i < 5 * 4096 { (i / 7) as u8 } else { 0 }).collect()
}

#[test]
fn snapshots_are_stored_read_merged_listed_and_removed() {
    let scene = Scene::new();
    let mut bytes = memory();
    scene.ingest("one", &bytes);
    bytes[4096..8192].fill(9);
    let file = scene.root.join("memory");
    fs::write(&file, &bytes).unwrap();
    let id = Uuid::random().unwrap();
    let second = scene
        .store
        .ingest(&IngestOptions {
            memory_file: file.as_os_str(),
            snapshot: "two".as_ref(),
            parent: "one".as_ref(),
            kind: MemoryFileKind::FULL,
            build_id: Some(&id),
            ..Default::default()
        })
        .unwrap();
    assert_eq!(second.stored_blocks(), 1);
    assert_eq!(second.build_id(), id);
    assert_eq!(second.snapshot(), scene.root.join("store/two"));
    assert_eq!(second.layout(), Layout::COMPACT);

    let reader = scene.store.read("two").unwrap();
    let mut read = vec![1; reader.memory_bytes().unwrap() as usize];
    reader.read(0, &mut read).unwrap();
    assert!(read == bytes);
    assert_eq!(reader.read(read.len() as u64, &mut [0]).unwrap_err().code, Code::Usage);
    let info = reader.info().unwrap();
    assert_eq!(info.layers().len(), 2);
    assert_eq!(info.layers().nth(1).unwrap().build_id(), id);
    assert_eq!(info.extents().iter().map(|e| e.length_bytes).sum::<u64>(), bytes.len() as u64);

    let merged = scene.store.merge(&MergeOptions { snapshot: "two".as_ref(), ..Default::default() }).unwrap();
    assert!(merged.merged());
    assert_eq!((merged.layers_before(), merged.layers_after()), (2, 1));
    assert_eq!(merged.pause_id(), second.pause_id());
    let verified = scene
        .store
        .verify(&VerifyOptions { snapshot: "two".as_ref(), against: file.as_os_str(), ..Default::default() })
        .unwrap();
    assert!(verified.is_intact() && verified.is_equal());
    assert_eq!(verified.problems().len(), 0);

    let listing = scene.store.list(&ListOptions::default()).unwrap();
    let names: Vec<_> = listing.snapshots().map(|s| s.name().into_owned()).collect();
    assert_eq!(names, ["one", "two"]);
    assert!(listing.snapshots().all(|s| s.error().is_none()));
    assert!(listing.freed_by_removing(&[0]).unwrap() > 0);
    assert_eq!(listing.freed_by_removing(&[2]).unwrap_err().code, Code::Usage);

    let names = ["one".as_ref(), "none".as_ref()];
    let removed = scene.store.remove(&RemoveOptions { snapshots: &names, ..Default::default() }).unwrap();
    let errors: Vec<_> = removed.snapshots().map(|s| s.error().map(|e| e.code)).collect();
    assert_eq!(errors, [None, Some(Code::NotFound)]);
}

#[test]
fn memory_comes_from_a_descriptor() {
    let scene = Scene::new();
    let path = scene.root.join("memory");
    fs::write(&path, memory()).unwrap();
    let file = fs::File::open(&path).unwrap();
    let options = IngestOptions { memory_fd: Some(file.as_fd()), snapshot: "one".as_ref(), ..Default::default() };
    assert_eq!(scene.store.ingest(&options).unwrap().memory_bytes(), 8 * 4096);
}

#[test]
fn errors_say_what_failed_and_what_to_do() {
    let scene = Scene::new();
    let missing = Store::open(scene.root.join("none")).err().unwrap();
    assert_eq!(missing.code, Code::NotFound);
    assert!(missing.message.contains("none"), "{missing}");
    scene.ingest("one", &memory());
    let memory = memory();
    let taken = scene
        .store
        .ingest(&IngestOptions { memory: &memory, snapshot: "one".as_ref(), ..Default::default() })
        .err()
        .unwrap();
    assert_eq!(taken.code, Code::Exists);
    assert!(taken.remedy.contains("`replace`"), "{taken}");
    // Nothing that C cannot have.
    assert_eq!(scene.store.inspect("a\0b").err().unwrap().code, Code::Usage);
    assert_eq!(scene.store.inspect("").err().unwrap().code, Code::Usage);
    let strange = IngestOptions { layout: Layout(77), snapshot: "two".as_ref(), ..Default::default() };
    assert!(scene.store.ingest(&strange).err().unwrap().message.contains("layout is 77"));
    assert_eq!(Reader::open("relative").err().unwrap().code, Code::Usage);
}

#[test]
fn operations_are_watched_and_cancelled() {
    let scene = Scene::new();
    scene.ingest("one", &memory());
    let progress = Progress::new().unwrap();
    let options = VerifyOptions { snapshot: "one".as_ref(), progress: Some(&progress), ..Default::default() };
    let before = progress.state().unwrap();
    assert_eq!(before, ProgressState::default());
    std::thread::scope(|scope| {
        scope.spawn(|| scene.store.verify(&options).unwrap());
    });
    let state = progress.state().unwrap();
    assert!(state.phases > 0 && state.done_bytes == state.total_bytes && !state.phase.is_empty());
    progress.cancel();
    assert!(progress.state().unwrap().is_cancelled);
    assert_eq!(scene.store.verify(&options).err().unwrap().code, Code::Interrupted);
}

#[test]
fn a_vm_that_is_not_there_is_not_found() {
    let scene = Scene::new();
    let socket = scene.root.join("socket");
    let frozen = || panic!("the VM was frozen");
    let options = PauseOptions {
        vmm: Vmm { api_socket: socket.as_os_str(), ..Default::default() },
        name: "one".as_ref(),
        while_frozen: Some(&frozen),
        page_server_command: &["lamina".as_ref(), "serve".as_ref()],
        ..Default::default()
    };
    assert_eq!(scene.store.pause(&options).err().unwrap().code, Code::NotFound);
    assert_eq!(scene.store.recover(&RecoverOptions::default()).unwrap().completed(), 0);
    assert_eq!(scene.store.find_page_server().unwrap(), PageServerState::NONE);
    assert_eq!(scene.store.page_server_metrics().unwrap_err().code, Code::NotFound);
}

#[test]
fn a_bucket_gives_back_what_was_pushed() {
    let scene = Scene::new();
    scene.ingest("one", &memory());
    let bucket = scene.root.join("bucket");
    fs::create_dir(&bucket).unwrap();
    let url = format!("file://{}", bucket.display());
    let push = PushOptions { url: url.as_ref(), snapshot: "one".as_ref(), ..Default::default() };
    match scene.store.push(&push) {
        Err(error) if error.code == Code::Unsupported => return, // a library without LAMINA_REMOTE
        pushed => assert!(!pushed.unwrap().is_conflict()),
    }
    let listed = remote_list(&RemoteListOptions { url: url.as_ref(), ..Default::default() }).unwrap();
    assert_eq!(listed.snapshots().next().unwrap().name(), "one");
    let pull = PullOptions { url: url.as_ref(), name: "one".as_ref(), r#as: "two".as_ref(), ..Default::default() };
    let pulled = scene.store.pull(&pull).unwrap();
    assert_eq!(pulled.snapshot(), scene.root.join("store/two"));
    let remove = RemoteRemoveOptions { url: url.as_ref(), name: "one".as_ref(), ..Default::default() };
    assert_eq!(remote_remove(&remove).unwrap().records(), 1);
    let pruned = prune(&PruneOptions { url: url.as_ref(), ..Default::default() }).unwrap();
    assert_eq!(pruned.kept_snapshots(), 0);
}

#[test]
fn uuids_are_read_and_written() {
    let id = Uuid::random().unwrap();
    assert_eq!(id.to_string().parse::<Uuid>().unwrap(), id);
    assert_eq!(id.to_string().len(), 36);
    assert_eq!("nothing".parse::<Uuid>().unwrap_err().code, Code::Usage);
    assert!(Uuid::from_bytes([0; 16]).is_nil());
}

#[test]
fn policies_have_a_limit() {
    assert_eq!(hard_layer_limit("tiered").unwrap(), 32);
    assert_eq!(hard_layer_limit("nonsense").unwrap_err().code, Code::Usage);
    assert!(version().contains('.'));
}

#[test]
fn handles_and_reports_go_to_other_threads() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Store>();
    is_shared::<Reader>();
    is_shared::<Progress>();
    is_shared::<Report<Listing>>();
    is_shared::<Error>();
}

#[test]
fn a_bucket_is_pushed_to_and_its_keys_are_listed() {
    let scene = Scene::new();
    scene.ingest("one", &memory());
    fs::create_dir_all(scene.root.join("bucket")).unwrap();
    let url = format!("file://{}", scene.root.join("bucket").display());
    let mut pushing = PushOptions { url: url.as_ref(), snapshot: "one".as_ref(), dry_run: true, ..Default::default() };
    match scene.store.push(&pushing) {
        Err(error) if error.code == Code::Unsupported => return, // without LAMINA_REMOTE
        pushed => assert!(pushed.unwrap().uploaded_objects() > 0),
    }
    assert_eq!(fs::read_dir(scene.root.join("bucket")).unwrap().count(), 0);
    pushing.dry_run = false;
    scene.store.push(&pushing).unwrap();
    let listed = remote_key_list(&RemoteKeyListOptions { url: url.as_ref(), ..Default::default() }).unwrap();
    let keys: Vec<_> = listed.keys().collect();
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].key_id(), "");
    assert_eq!(keys[0].states().next().unwrap().name(), "one");

    fs::create_dir_all(scene.root.join("elsewhere")).unwrap();
    let elsewhere = Store::open(scene.root.join("elsewhere")).unwrap();
    let begun = elsewhere
        .begin_pull(&BeginPullOptions { url: url.as_ref(), name: "one".as_ref(), ..Default::default() })
        .unwrap();
    assert!(begun.is_arriving());
    assert_eq!(begun.pull().unwrap().memory_bytes(), memory().len() as u64);

    let refused = elsewhere.fetch_arriving(&FetchOptions::default()).err().unwrap();
    assert_eq!(refused.code, Code::Usage);
    let recovered = elsewhere.recover(&RecoverOptions::default()).unwrap();
    assert_eq!(recovered.removed_arrivals(), 0); // `begun` keeps it
    let arrival = recovered.arrivals().next().unwrap().id();
    let fetched = elsewhere
        .fetch_arriving(&FetchOptions { arrival: Some(&arrival), ..Default::default() })
        .unwrap();
    assert!(fetched.snapshot().ends_with("elsewhere/one"));
    assert!(elsewhere.inspect("one").is_ok());
}

#[test]
fn a_live_fork_names_what_is_missing() {
    let scene = Scene::new();
    let sources = [Vmm { api_socket: "/nowhere/a".as_ref(), ..Default::default() }];
    let mut options = LiveForkOptions {
        pause: PauseOptions { vmm: sources[0], name: "one".as_ref(), after: AfterPause::RESUME, ..Default::default() },
        ..Default::default()
    };
    let refused = scene.store.live_fork(&options).err().unwrap();
    assert_eq!((refused.code, refused.message.as_str()), (Code::Usage, "there are no clones"));
    options.clones = &sources;
    let refused = scene.store.live_fork(&options).err().unwrap();
    assert!(refused.message.contains("is given twice"), "{refused}");
    let clones = [Vmm { api_socket: "/nowhere/b".as_ref(), ..Default::default() }];
    options.clones = &clones;
    assert_eq!(scene.store.live_fork(&options).err().unwrap().code, Code::NotFound);
    let devices = [CloneDevices::default(), CloneDevices::default()];
    options.devices = &devices;
    let refused = scene.store.live_fork(&options).err().unwrap();
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (Code::Usage, "there are devices for 2 clones, and 1 clones")
    );
}

#[test]
fn an_ingested_snapshot_has_no_record_of_a_pause() {
    let scene = Scene::new();
    scene.ingest("one", &memory());
    let info = scene.store.inspect("one").unwrap();
    assert!(info.pause().is_none());
    assert_eq!(info.last_resumes().len(), 0);
}
