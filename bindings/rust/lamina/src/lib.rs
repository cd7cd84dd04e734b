//! Stores the memory of paused microVMs: a safe interface to liblamina.
//!
//! ```no_run
//! use lamina::{IngestOptions, Store};
//!
//! # fn main() -> Result<(), lamina::Error> {
//! let store = Store::open("/var/lib/sandboxes")?;
//! let report = store.ingest(&IngestOptions {
//!     memory_file: "/run/vm/mem".as_ref(),
//!     snapshot: "web-1".as_ref(),
//!     ..Default::default()
//! })?;
//! println!("{} blocks stored in {}", report.stored_blocks(), report.snapshot().display());
//! # Ok(())
//! # }
//! ```
//!
//! Options and reports have the fields of include/lamina.h, which describes them. A text of options
//! is not given if it is empty. Handles, reports and errors are `Send` and `Sync`. Calls block;
//! `Progress` watches and cancels them from another thread.

#![deny(unsafe_op_in_unsafe_fn)]

mod convert;
mod generated;

pub use generated::*;
pub use lamina_sys::{lamina_extent as Extent, lamina_file_use as FileUse};

use convert::{error_at, text_at, texts, Keep};
use lamina_sys as sys;
use std::ffi::{CString, OsStr};
use std::fmt;
use std::ops::Deref;
use std::path::Path;
use std::ptr::{null, null_mut};
use std::str::FromStr;

/// The kind of a failure: what a program decides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    Failed,
    Usage,
    NotFound,
    Exists,
    Permission,
    Unsupported,
    Corrupt,
    Busy,
    NoSpace,
    Interrupted,
}

impl Code {
    fn from_c(code: sys::lamina_code) -> Code {
        match code {
            sys::LAMINA_USAGE => Code::Usage,
            sys::LAMINA_NOT_FOUND => Code::NotFound,
            sys::LAMINA_EXISTS => Code::Exists,
            sys::LAMINA_PERMISSION => Code::Permission,
            sys::LAMINA_UNSUPPORTED => Code::Unsupported,
            sys::LAMINA_CORRUPT => Code::Corrupt,
            sys::LAMINA_BUSY => Code::Busy,
            sys::LAMINA_NO_SPACE => Code::NoSpace,
            sys::LAMINA_INTERRUPTED => Code::Interrupted,
            _ => Code::Failed, // also what a later library has added
        }
    }
}

/// A failure. The texts are for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub code: Code,
    /// What failed, on which object, with which value.
    pub message: String,
    /// What can be done about it; empty if nothing is known.
    pub remedy: String,
    /// What was done before the failure.
    pub notes: Vec<String>,
    /// errno of the system call that failed; 0 if none did.
    pub error_number: i32,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// The result of a call of C, whose error is freed.
fn check(code: sys::lamina_code, error: *const sys::lamina_error) -> Result<(), Error> {
    if code == sys::LAMINA_OK {
        return Ok(());
    }
    let made = unsafe { error_at(error) };
    unsafe { sys::lamina_free(error.cast()) };
    Err(made.unwrap_or_else(|| Error {
        code: Code::from_c(code),
        message: "the call failed".into(),
        remedy: String::new(),
        notes: Vec::new(),
        error_number: 0,
    }))
}

/// Options that can be passed to C.
#[doc(hidden)]
pub trait Options {
    type C;
    fn to_c<'k>(&'k self, keep: &mut Keep<'k>) -> Result<Self::C, Error>;
}

/// A view of a struct of C.
///
/// # Safety
/// It must be a transparent wrapper of `C`, which must be a report.
#[doc(hidden)]
pub unsafe trait ReportView {
    type C;
}

/// A report, which is freed when it is dropped.
pub struct Report<View: ReportView>(*const View::C);

unsafe impl<View: ReportView + Send> Send for Report<View> {}
unsafe impl<View: ReportView + Sync> Sync for Report<View> {}

impl<View: ReportView> Report<View> {
    /// Takes a report from C. A library that is older than this crate could have made a smaller one.
    fn new(made: *const View::C) -> Result<Report<View>, Error> {
        let report = Report(made);
        let size = unsafe { made.cast::<usize>().read() }; // struct_size
        if size >= std::mem::size_of::<View::C>() {
            return Ok(report);
        }
        Err(Error {
            code: Code::Unsupported,
            message: format!("liblamina {} is older than this crate", version()),
            remedy: "install a newer liblamina".into(),
            notes: Vec::new(),
            error_number: 0,
        })
    }
}

impl<View: ReportView> Deref for Report<View> {
    type Target = View;
    fn deref(&self) -> &View {
        // A transparent wrapper, of a struct that lives until lamina_free().
        unsafe { &*self.0.cast::<View>() }
    }
}

impl<View: ReportView> Drop for Report<View> {
    fn drop(&mut self) {
        unsafe { sys::lamina_free(self.0.cast()) }
    }
}

/// Calls a function of C that makes a report of options.
fn call<O: Options, View: ReportView>(
    options: &O,
    function: impl FnOnce(*const O::C, *mut *const View::C, *mut *const sys::lamina_error) -> sys::lamina_code,
) -> Result<Report<View>, Error> {
    let mut keep = Keep::default();
    let c = options.to_c(&mut keep)?;
    let (mut report, mut error) = (null(), null());
    check(function(&c, &mut report, &mut error), error)?;
    Report::new(report)
}

/// Calls a function of C that makes a report of a snapshot's name or path.
fn call_with_name<View: ReportView>(
    name: &OsStr,
    function: impl FnOnce(
        *const std::os::raw::c_char,
        *mut *const View::C,
        *mut *const sys::lamina_error,
    ) -> sys::lamina_code,
) -> Result<Report<View>, Error> {
    let mut keep = Keep::default();
    let name = keep.text(name)?;
    let (mut report, mut error) = (null(), null());
    check(function(name, &mut report, &mut error), error)?;
    Report::new(report)
}

/// The id of a layer or of a pause.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Uuid(sys::lamina_uuid);

impl Uuid {
    pub fn random() -> Result<Uuid, Error> {
        let mut id = Uuid::from_bytes([0; 16]);
        let mut error = null();
        check(unsafe { sys::lamina_uuid_random(&mut id.0, &mut error) }, error)?;
        Ok(id)
    }
    pub fn from_bytes(bytes: [u8; 16]) -> Uuid {
        Uuid(sys::lamina_uuid { bytes })
    }
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0.bytes
    }
    /// In a report: there is none, or it is not known.
    pub fn is_nil(&self) -> bool {
        self.0.bytes == [0; 16]
    }
}

impl PartialEq for Uuid {
    fn eq(&self, other: &Uuid) -> bool {
        self.0.bytes == other.0.bytes
    }
}
impl Eq for Uuid {}
impl std::hash::Hash for Uuid {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.bytes.hash(state);
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.bytes.iter().enumerate() {
            write!(f, "{}{byte:02x}", if matches!(i, 4 | 6 | 8 | 10) { "-" } else { "" })?;
        }
        Ok(())
    }
}
impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Uuid {
    type Err = Error;
    fn from_str(text: &str) -> Result<Uuid, Error> {
        let mut keep = Keep::default();
        let text = keep.text(text.as_ref())?;
        let mut id = Uuid::from_bytes([0; 16]);
        let mut error = null();
        check(unsafe { sys::lamina_uuid_parse(text, &mut id.0, &mut error) }, error)?;
        Ok(id)
    }
}

/// Watches and cancels an operation from other threads. Make one for each operation.
pub struct Progress(*mut sys::lamina_progress);

unsafe impl Send for Progress {}
unsafe impl Sync for Progress {}

/// What an operation has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgressState {
    /// Begun so far; 0: the operation has not reported anything yet.
    pub phases: u64,
    pub phase: String,
    pub done_bytes: u64,
    pub total_bytes: u64,
    pub is_cancelled: bool,
}

impl Progress {
    pub fn new() -> Result<Progress, Error> {
        let (mut progress, mut error) = (null_mut(), null());
        check(unsafe { sys::lamina_progress_open(&mut progress, &mut error) }, error)?;
        Ok(Progress(progress))
    }
    /// The operation fails with `Code::Interrupted` at its next step.
    pub fn cancel(&self) {
        // It fails for a handle that is not open only.
        unsafe { sys::lamina_progress_cancel(self.0, null_mut()) };
    }
    pub fn state(&self) -> Result<ProgressState, Error> {
        let mut state: sys::lamina_progress_state = unsafe { std::mem::zeroed() };
        state.struct_size = std::mem::size_of_val(&state);
        let mut error = null();
        check(unsafe { sys::lamina_progress_get(self.0, &mut state, &mut error) }, error)?;
        Ok(ProgressState {
            phases: state.phases,
            phase: unsafe { text_at(state.phase.as_ptr()) }.into_owned(),
            done_bytes: state.done_bytes,
            total_bytes: state.total_bytes,
            is_cancelled: state.is_cancelled != 0,
        })
    }
    pub(crate) fn handle(&self) -> *mut sys::lamina_progress {
        self.0
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        unsafe { sys::lamina_progress_close(self.0) };
    }
}

/// A store, opened for writing. In options, a snapshot without a slash is a name in the store; with
/// a slash it is a path.
pub struct Store(*mut sys::lamina_store);

unsafe impl Send for Store {}
unsafe impl Sync for Store {}

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident($options:ident) -> $report:ident = $function:ident;)*) => {
        $($(#[$doc])*
        pub fn $name(&self, options: &$options<'_>) -> Result<Report<$report>, Error> {
            call(options, |o, r, e| unsafe { sys::$function(self.0, o, r, e) })
        })*
    };
}

impl Store {
    /// Opens the directory `path`, and makes it a store if it is not one yet.
    pub fn open(path: impl AsRef<Path>) -> Result<Store, Error> {
        let mut keep = Keep::default();
        let path = keep.text(path.as_ref().as_os_str())?;
        let (mut store, mut error) = (null_mut(), null());
        check(unsafe { sys::lamina_store_open(path, &mut store, &mut error) }, error)?;
        Ok(Store(store))
    }

    /// What opening it cleaned up.
    pub fn notes(&self) -> Result<Vec<String>, Error> {
        let (mut lines, mut error) = (null(), null());
        check(unsafe { sys::lamina_store_notes(self.0, &mut lines, &mut error) }, error)?;
        let notes = unsafe { texts((*lines).items, (*lines).count) }.map(|n| n.into_owned()).collect();
        unsafe { sys::lamina_free(lines.cast()) };
        Ok(notes)
    }

    operations! {
        /// Stores a memory file as a new snapshot.
        ingest(IngestOptions) -> IngestReport = lamina_ingest;
        /// Merges layers into one.
        merge(MergeOptions) -> MergeReport = lamina_merge;
        /// Merges the layers that a policy selects.
        compact(CompactOptions) -> CompactReport = lamina_compact;
        /// Writes a snapshot's memory as one file.
        materialize(MaterializeOptions) -> MaterializeReport = lamina_materialize;
        /// Reads and checks all data of a snapshot. Success means that the report is complete, not
        /// that the data is right.
        verify(VerifyOptions) -> VerifyReport = lamina_verify;
        /// Lists the store with its disk use. Leave `path` empty.
        list(ListOptions) -> Listing = lamina_list;
        /// Gives a snapshot a second name.
        fork(ForkOptions) -> ForkReport = lamina_fork;
        /// Removes snapshots. Success does not mean that all were removed: look at the errors.
        remove(RemoveOptions) -> RemoveReport = lamina_remove;
        /// Pauses a VM into the store.
        pause(PauseOptions) -> PauseReport = lamina_pause;
        /// Loads a snapshot into a Firecracker, and resumes the VM.
        resume(ResumeOptions) -> ResumeReport = lamina_resume;
        /// Takes a checkpoint of a running VM, and resumes clones from it before it is on the disk.
        /// `resume.vmm` and `resume.name` are not used. Success does not mean that all clones run:
        /// look at their errors.
        live_fork(LiveForkOptions) -> LiveForkReport = lamina_live_fork;
        /// Finishes or removes what killed processes have left unfinished.
        recover(RecoverOptions) -> RecoverReport = lamina_recover;
        /// Writes a snapshot as one file.
        pack(PackOptions) -> PackReport = lamina_pack;
        /// Makes a snapshot of a packed one.
        unpack(UnpackOptions) -> UnpackReport = lamina_unpack;
        /// Pushes a snapshot to a bucket.
        push(PushOptions) -> PushReport = lamina_push;
        /// Fetches the newest state of a name from a bucket.
        pull(PullOptions) -> PullReport = lamina_pull;
        /// Begins a pull, so that a VM can be resumed by page faults at once. The report keeps
        /// `recover` from removing what arrives: drop it after `resume`.
        begin_pull(BeginPullOptions) -> BeginPullReport = lamina_begin_pull;
        /// Fetches the rest of a snapshot that is arriving. `arrival` must be set: the report of
        /// `recover` has the ids.
        fetch_arriving(FetchOptions) -> FetchReport = lamina_fetch_arriving;
    }

    /// Describes a snapshot.
    pub fn inspect(&self, snapshot: impl AsRef<OsStr>) -> Result<Report<SnapshotInfo>, Error> {
        call_with_name(snapshot.as_ref(), |n, r, e| unsafe { sys::lamina_inspect(self.0, n, r, e) })
    }

    /// Rebuilds a lost header or snapshot.json.
    pub fn repair(&self, snapshot: impl AsRef<OsStr>) -> Result<Report<RepairReport>, Error> {
        call_with_name(snapshot.as_ref(), |n, r, e| unsafe { sys::lamina_repair(self.0, n, r, e) })
    }

    /// Opens a snapshot for reading.
    pub fn read(&self, snapshot: impl AsRef<OsStr>) -> Result<Reader, Error> {
        Reader::open_in(self.0, snapshot.as_ref())
    }

    /// Whether the store's page server serves.
    pub fn find_page_server(&self) -> Result<PageServerState, Error> {
        let mut state = 0;
        let mut error = null();
        check(unsafe { sys::lamina_find_page_server(self.0, &mut state, &mut error) }, error)?;
        Ok(PageServerState(state))
    }

    /// The metrics of the store's page server, in Prometheus' text format.
    pub fn page_server_metrics(&self) -> Result<String, Error> {
        let (mut text, mut error) = (null(), null());
        check(unsafe { sys::lamina_page_server_metrics(self.0, &mut text, &mut error) }, error)?;
        let metrics = unsafe { text_at((*text).text) }.into_owned();
        unsafe { sys::lamina_free(text.cast()) };
        Ok(metrics)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        unsafe { sys::lamina_store_close(self.0) };
    }
}

impl Report<Listing> {
    /// Allocated bytes that are freed if the snapshots with these indices are removed.
    pub fn freed_by_removing(&self, indices: &[usize]) -> Result<u64, Error> {
        let mut freed = 0;
        let mut error = null();
        let code = unsafe {
            sys::lamina_freed_by_removing(self.0, indices.as_ptr(), indices.len(), &mut freed, &mut error)
        };
        check(code, error)?;
        Ok(freed)
    }
}

/// An open snapshot: it keeps the state that it has opened, whatever happens to the name.
pub struct Reader(*mut sys::lamina_reader);

unsafe impl Send for Reader {}
unsafe impl Sync for Reader {}

impl Reader {
    /// Opens the snapshot at a path with a slash, which needs no right to write.
    pub fn open(path: impl AsRef<Path>) -> Result<Reader, Error> {
        Reader::open_in(null_mut(), path.as_ref().as_os_str())
    }

    fn open_in(store: *mut sys::lamina_store, snapshot: &OsStr) -> Result<Reader, Error> {
        let mut keep = Keep::default();
        let snapshot = keep.text(snapshot)?;
        let (mut reader, mut error) = (null_mut(), null());
        check(unsafe { sys::lamina_reader_open(store, snapshot, &mut reader, &mut error) }, error)?;
        Ok(Reader(reader))
    }

    /// Fills `buffer` with the memory from `offset_bytes` on, checked against the checksums.
    pub fn read(&self, offset_bytes: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let mut error = null();
        let code = unsafe {
            sys::lamina_reader_read(self.0, offset_bytes, buffer.as_mut_ptr().cast(), buffer.len(), &mut error)
        };
        check(code, error)
    }

    pub fn memory_bytes(&self) -> Result<u64, Error> {
        let mut size = 0;
        let mut error = null();
        check(unsafe { sys::lamina_reader_memory_bytes(self.0, &mut size, &mut error) }, error)?;
        Ok(size)
    }

    /// Layers and extents, as they were when it was opened.
    pub fn info(&self) -> Result<Report<SnapshotInfo>, Error> {
        let (mut info, mut error) = (null(), null());
        check(unsafe { sys::lamina_reader_info(self.0, &mut info, &mut error) }, error)?;
        Report::new(info)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        unsafe { sys::lamina_reader_close(self.0) };
    }
}

/// Lists what a bucket has.
pub fn remote_list(options: &RemoteListOptions<'_>) -> Result<Report<RemoteListReport>, Error> {
    call(options, |o, r, e| unsafe { sys::lamina_remote_list(o, r, e) })
}

/// Removes all states of a name from a bucket.
pub fn remote_remove(options: &RemoteRemoveOptions<'_>) -> Result<Report<RemoteRemoveReport>, Error> {
    call(options, |o, r, e| unsafe { sys::lamina_remote_remove(o, r, e) })
}

/// Removes older states from a bucket, then what nothing references.
pub fn prune(options: &PruneOptions<'_>) -> Result<Report<PruneReport>, Error> {
    call(options, |o, r, e| unsafe { sys::lamina_prune(o, r, e) })
}

/// Lists which tenant's key wraps the keys of which states of a bucket.
pub fn remote_key_list(options: &RemoteKeyListOptions<'_>) -> Result<Report<RemoteKeyListReport>, Error> {
    call(options, |o, r, e| unsafe { sys::lamina_remote_key_list(o, r, e) })
}

/// Wraps the keys of a bucket's objects with a new key of the tenant. Success does not mean that
/// `is_complete()`.
pub fn remote_key_rotate(options: &RemoteKeyRotateOptions<'_>) -> Result<Report<RemoteKeyRotateReport>, Error> {
    call(options, |o, r, e| unsafe { sys::lamina_remote_key_rotate(o, r, e) })
}

/// Removes every record whose keys a tenant's key wraps. Cannot be undone.
pub fn remote_key_destroy(options: &RemoteKeyDestroyOptions<'_>) -> Result<Report<RemoteKeyDestroyReport>, Error> {
    call(options, |o, r, e| unsafe { sys::lamina_remote_key_destroy(o, r, e) })
}

/// The number of layers from which on a snapshot should be merged before its next pause; 0: never.
pub fn hard_layer_limit(policy: &str) -> Result<u32, Error> {
    let policy = CString::new(policy).unwrap_or_default();
    let mut layers = 0;
    let mut error = null();
    check(unsafe { sys::lamina_hard_layer_limit(policy.as_ptr(), &mut layers, &mut error) }, error)?;
    Ok(layers)
}

/// The version of the library: "0.2.0".
pub fn version() -> String {
    unsafe { text_at(sys::lamina_version()) }.into_owned()
}
