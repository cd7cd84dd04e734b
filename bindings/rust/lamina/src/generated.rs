// Written by bindings/rust/generate.py from include/lamina.h. Do not edit.

//! Options, reports and numbers.

use crate::convert::{call_while_frozen, error_at, item_at, items, path_at, slice, text_at, texts, Keep};
use crate::{Error, Options, Progress, ReportView, Uuid};
use lamina_sys as sys;
use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::unix::io::{AsRawFd, BorrowedFd};
use std::path::Path;

/// `lamina_memory_file_kind`. A later library may know other numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct MemoryFileKind(pub u32);
impl MemoryFileKind {
    pub const AUTO: Self = Self(0);
    pub const FULL: Self = Self(1);
    pub const DIFF: Self = Self(2);
}
/// `lamina_layout`. A later library may know other numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Layout(pub u32);
impl Layout {
    pub const AUTO: Self = Self(0);
    pub const COMPACT: Self = Self(1);
    pub const ADOPTED: Self = Self(2);
}
/// `lamina_zeros`. A later library may know other numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Zeros(pub u32);
impl Zeros {
    pub const UNSPECIFIED: Self = Self(0);
    pub const WRITTEN: Self = Self(1);
    pub const INHERIT: Self = Self(2);
}
/// `lamina_dedup`. A later library may know other numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Dedup(pub u32);
impl Dedup {
    pub const NONE: Self = Self(0);
    pub const PARENT: Self = Self(1);
}
/// `lamina_header_format`. A later library may know other numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct HeaderFormat(pub u32);
impl HeaderFormat {
    pub const NATIVE: Self = Self(0);
    pub const V1: Self = Self(1);
    pub const V3: Self = Self(2);
}
/// `lamina_huge_pages`. A later library may know other numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct HugePages(pub u32);
impl HugePages {
    pub const AS_BEFORE: Self = Self(0);
    pub const NONE: Self = Self(1);
    pub const TRANSPARENT: Self = Self(2);
    pub const M2: Self = Self(3);
}
/// `lamina_compact_outcome`. A later library may know other numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct CompactOutcome(pub u32);
impl CompactOutcome {
    pub const NOTHING: Self = Self(0);
    pub const PLANNED: Self = Self(1);
    pub const MERGED: Self = Self(2);
    pub const DROPPED: Self = Self(3);
}
/// `lamina_reflink`. A later library may know other numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Reflink(pub u32);
impl Reflink {
    pub const AUTO: Self = Self(0);
    pub const ALWAYS: Self = Self(1);
    pub const NEVER: Self = Self(2);
}
/// `lamina_has_checksums`. A later library may know other numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct HasChecksums(pub u32);
impl HasChecksums {
    pub const NO: Self = Self(0);
    pub const YES: Self = Self(1);
    pub const UNKNOWN: Self = Self(2);
}
/// `lamina_pending_kind`. A later library may know other numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct PendingKind(pub u32);
impl PendingKind {
    pub const PAUSE: Self = Self(0);
    pub const INGEST: Self = Self(1);
    pub const OTHER: Self = Self(2);
}
/// `lamina_after_pause`. A later library may know other numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct AfterPause(pub u32);
impl AfterPause {
    pub const STOP: Self = Self(0);
    pub const RESUME: Self = Self(1);
    pub const STAY: Self = Self(2);
}
/// `lamina_pause_place`. A later library may know other numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct PausePlace(pub u32);
impl PausePlace {
    pub const DISK: Self = Self(0);
    pub const MEMORY: Self = Self(1);
}
/// `lamina_resume_mode`. A later library may know other numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct ResumeMode(pub u32);
impl ResumeMode {
    pub const AUTO: Self = Self(0);
    pub const PAGE_FAULTS: Self = Self(1);
    pub const FILE: Self = Self(2);
}
/// `lamina_populate`. A later library may know other numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Populate(pub u32);
impl Populate {
    pub const DEFAULT: Self = Self(0);
    pub const NONE: Self = Self(1);
    pub const WORKING_SET: Self = Self(2);
    pub const ALL: Self = Self(3);
}
/// `lamina_page_server_state`. A later library may know other numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct PageServerState(pub u32);
impl PageServerState {
    pub const NONE: Self = Self(0);
    pub const SILENT: Self = Self(1);
    pub const BUSY: Self = Self(2);
    pub const SERVES: Self = Self(3);
    pub const CANNOT_SERVE: Self = Self(4);
}
/// `lamina_pack_codec`. A later library may know other numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct PackCodec(pub u32);
impl PackCodec {
    pub const ZSTD: Self = Self(0);
    pub const LZ4: Self = Self(1);
    pub const NONE: Self = Self(2);
}
/// `lamina_ingest_options`. Empty, `None` and 0 are the defaults.
#[derive(Clone, Copy, Default)]
pub struct IngestOptions<'a> {
    pub memory_file: &'a OsStr,
    pub memory_fd: Option<BorrowedFd<'a>>,
    pub memory: &'a [u8],
    pub snapshot: &'a OsStr,
    pub parent: &'a OsStr,
    pub vmstate_file: &'a OsStr,
    pub build_id: Option<&'a Uuid>,
    pub kind: MemoryFileKind,
    pub layout: Layout,
    pub zeros: Zeros,
    pub huge_pages: HugePages,
    pub dedup: Dedup,
    pub header: HeaderFormat,
    pub consume: bool,
    pub replace: bool,
    pub progress: Option<&'a Progress>,
}
impl Options for IngestOptions<'_> {
    type C = sys::lamina_ingest_options;
    fn to_c<'k>(&'k self, keep: &mut Keep<'k>) -> Result<sys::lamina_ingest_options, Error> {
        // All zeros are valid, and the default.
        let mut c: sys::lamina_ingest_options = unsafe { std::mem::zeroed() };
        c.struct_size = std::mem::size_of::<sys::lamina_ingest_options>();
        c.memory_file = keep.text(self.memory_file)?;
        if let Some(fd) = self.memory_fd { c.memory_fd = fd.as_raw_fd(); c.has_memory_fd = 1; }
        if !self.memory.is_empty() { c.memory = self.memory.as_ptr().cast(); c.memory_bytes = self.memory.len(); }
        c.snapshot = keep.text(self.snapshot)?;
        c.parent = keep.text(self.parent)?;
        c.vmstate_file = keep.text(self.vmstate_file)?;
        if let Some(id) = self.build_id { c.build_id = &id.0; }
        c.kind = self.kind.0;
        c.layout = self.layout.0;
        c.zeros = self.zeros.0;
        c.huge_pages = self.huge_pages.0;
        c.dedup = self.dedup.0;
        c.header = self.header.0;
        c.consume = u32::from(self.consume);
        c.replace = u32::from(self.replace);
        if let Some(progress) = self.progress { c.progress = progress.handle(); }
        Ok(c)
    }
}
/// `lamina_ingest_report`.
#[repr(transparent)]
pub struct IngestReport(sys::lamina_ingest_report);
unsafe impl ReportView for IngestReport { type C = sys::lamina_ingest_report; }
unsafe impl Send for IngestReport {}
unsafe impl Sync for IngestReport {}
impl IngestReport {
    pub fn snapshot(&self) -> &Path { unsafe { path_at(self.0.snapshot) } }
    pub fn build_id(&self) -> Uuid { Uuid(self.0.build_id) }
    pub fn pause_id(&self) -> Uuid { Uuid(self.0.pause_id) }
    pub fn kind(&self) -> MemoryFileKind { MemoryFileKind(self.0.kind) }
    pub fn layout(&self) -> Layout { Layout(self.0.layout) }
    pub fn generation(&self) -> u64 { self.0.generation }
    pub fn memory_bytes(&self) -> u64 { self.0.memory_bytes }
    pub fn stored_blocks(&self) -> u64 { self.0.stored_blocks }
    pub fn zero_blocks(&self) -> u64 { self.0.zero_blocks }
    pub fn unchanged_blocks(&self) -> u64 { self.0.unchanged_blocks }
    pub fn layer_bytes(&self) -> u64 { self.0.layer_bytes }
    pub fn layer_allocated_bytes(&self) -> u64 { self.0.layer_allocated_bytes }
    pub fn cloned_bytes(&self) -> u64 { self.0.cloned_bytes }
    pub fn notes(&self) -> impl ExactSizeIterator<Item = Cow<'_, str>> { unsafe { texts(self.0.notes, self.0.note_count) } }
}
/// `lamina_merge_options`. Empty, `None` and 0 are the defaults.
#[derive(Clone, Copy, Default)]
pub struct MergeOptions<'a> {
    pub snapshot: &'a OsStr,
    pub out: &'a OsStr,
    pub only_build: Option<&'a Uuid>,
    pub layers: u32,
    pub progress: Option<&'a Progress>,
}
impl Options for MergeOptions<'_> {
    type C = sys::lamina_merge_options;
    fn to_c<'k>(&'k self, keep: &mut Keep<'k>) -> Result<sys::lamina_merge_options, Error> {
        // All zeros are valid, and the default.
        let mut c: sys::lamina_merge_options = unsafe { std::mem::zeroed() };
        c.struct_size = std::mem::size_of::<sys::lamina_merge_options>();
        c.snapshot = keep.text(self.snapshot)?;
        c.out = keep.text(self.out)?;
        if let Some(id) = self.only_build { c.only_build = &id.0; }
        c.layers = self.layers;
        if let Some(progress) = self.progress { c.progress = progress.handle(); }
        Ok(c)
    }
}
/// `lamina_merge_report`.
#[repr(transparent)]
pub struct MergeReport(sys::lamina_merge_report);
unsafe impl ReportView for MergeReport { type C = sys::lamina_merge_report; }
unsafe impl Send for MergeReport {}
unsafe impl Sync for MergeReport {}
impl MergeReport {
    pub fn snapshot(&self) -> &Path { unsafe { path_at(self.0.snapshot) } }
    pub fn build_id(&self) -> Uuid { Uuid(self.0.build_id) }
    pub fn pause_id(&self) -> Uuid { Uuid(self.0.pause_id) }
    pub fn merged(&self) -> bool { self.0.merged != 0 }
    pub fn layers_before(&self) -> u32 { self.0.layers_before }
    pub fn layers_after(&self) -> u32 { self.0.layers_after }
    pub fn generation(&self) -> u64 { self.0.generation }
    pub fn merged_blocks(&self) -> u64 { self.0.merged_blocks }
    pub fn dropped_blocks(&self) -> u64 { self.0.dropped_blocks }
    pub fn cloned_bytes(&self) -> u64 { self.0.cloned_bytes }
    pub fn copied_bytes(&self) -> u64 { self.0.copied_bytes }
    pub fn freed_bytes(&self) -> u64 { self.0.freed_bytes }
    pub fn duplicated_bytes(&self) -> u64 { self.0.duplicated_bytes }
    pub fn notes(&self) -> impl ExactSizeIterator<Item = Cow<'_, str>> { unsafe { texts(self.0.notes, self.0.note_count) } }
}
/// `lamina_compact_options`. Empty, `None` and 0 are the defaults.
#[derive(Clone, Copy, Default)]
pub struct CompactOptions<'a> {
    pub snapshot: &'a OsStr,
    pub policy: &'a OsStr,
    pub rate_limit_bytes_s: u64,
    pub dry_run: bool,
    pub background: bool,
    pub progress: Option<&'a Progress>,
}
impl Options for CompactOptions<'_> {
    type C = sys::lamina_compact_options;
    fn to_c<'k>(&'k self, keep: &mut Keep<'k>) -> Result<sys::lamina_compact_options, Error> {
        // All zeros are valid, and the default.
        let mut c: sys::lamina_compact_options = unsafe { std::mem::zeroed() };
        c.struct_size = std::mem::size_of::<sys::lamina_compact_options>();
        c.snapshot = keep.text(self.snapshot)?;
        c.policy = keep.text(self.policy)?;
        c.rate_limit_bytes_s = self.rate_limit_bytes_s;
        c.dry_run = u32::from(self.dry_run);
        c.background = u32::from(self.background);
        if let Some(progress) = self.progress { c.progress = progress.handle(); }
        Ok(c)
    }
}
/// `lamina_compact_report`.
#[repr(transparent)]
pub struct CompactReport(sys::lamina_compact_report);
unsafe impl ReportView for CompactReport { type C = sys::lamina_compact_report; }
unsafe impl Send for CompactReport {}
unsafe impl Sync for CompactReport {}
impl CompactReport {
    pub fn snapshot(&self) -> &Path { unsafe { path_at(self.0.snapshot) } }
    pub fn policy(&self) -> Cow<'_, str> { unsafe { text_at(self.0.policy) } }
    pub fn pause_id(&self) -> Uuid { Uuid(self.0.pause_id) }
    pub fn outcome(&self) -> CompactOutcome { CompactOutcome(self.0.outcome) }
    pub fn layers_before(&self) -> u32 { self.0.layers_before }
    pub fn layers_after(&self) -> u32 { self.0.layers_after }
    pub fn merged_layers(&self) -> u32 { self.0.merged_layers }
    pub fn read_bytes(&self) -> u64 { self.0.read_bytes }
    pub fn written_bytes(&self) -> u64 { self.0.written_bytes }
    pub fn cloned_bytes(&self) -> u64 { self.0.cloned_bytes }
    pub fn freed_bytes(&self) -> u64 { self.0.freed_bytes }
    pub fn duplicated_bytes(&self) -> u64 { self.0.duplicated_bytes }
    pub fn attempts(&self) -> u32 { self.0.attempts }
    pub fn next_pause_must_wait(&self) -> bool { self.0.next_pause_must_wait != 0 }
    pub fn notes(&self) -> impl ExactSizeIterator<Item = Cow<'_, str>> { unsafe { texts(self.0.notes, self.0.note_count) } }
}
/// `lamina_materialize_options`. Empty, `None` and 0 are the defaults.
#[derive(Clone, Copy, Default)]
pub struct MaterializeOptions<'a> {
    pub snapshot: &'a OsStr,
    pub out: &'a OsStr,
    pub reflink: Reflink,
    pub progress: Option<&'a Progress>,
}
impl Options for MaterializeOptions<'_> {
    type C = sys::lamina_materialize_options;
    fn to_c<'k>(&'k self, keep: &mut Keep<'k>) -> Result<sys::lamina_materialize_options, Error> {
        // All zeros are valid, and the default.
        let mut c: sys::lamina_materialize_options = unsafe { std::mem::zeroed() };
        c.struct_size = std::mem::size_of::<sys::lamina_materialize_options>();
        c.snapshot = keep.text(self.snapshot)?;
        c.out = keep.text(self.out)?;
        c.reflink = self.reflink.0;
        if let Some(progress) = self.progress { c.progress = progress.handle(); }
        Ok(c)
    }
}
/// `lamina_materialize_report`.
#[repr(transparent)]
pub struct MaterializeReport(sys::lamina_materialize_report);
unsafe impl ReportView for MaterializeReport { type C = sys::lamina_materialize_report; }
unsafe impl Send for MaterializeReport {}
unsafe impl Sync for MaterializeReport {}
impl MaterializeReport {
    pub fn memory_bytes(&self) -> u64 { self.0.memory_bytes }
    pub fn data_bytes(&self) -> u64 { self.0.data_bytes }
    pub fn cloned_bytes(&self) -> u64 { self.0.cloned_bytes }
}
/// `lamina_verify_options`. Empty, `None` and 0 are the defaults.
#[derive(Clone, Copy, Default)]
pub struct VerifyOptions<'a> {
    pub snapshot: &'a OsStr,
    pub against: &'a OsStr,
    pub progress: Option<&'a Progress>,
}
impl Options for VerifyOptions<'_> {
    type C = sys::lamina_verify_options;
    fn to_c<'k>(&'k self, keep: &mut Keep<'k>) -> Result<sys::lamina_verify_options, Error> {
        // All zeros are valid, and the default.
        let mut c: sys::lamina_verify_options = unsafe { std::mem::zeroed() };
        c.struct_size = std::mem::size_of::<sys::lamina_verify_options>();
        c.snapshot = keep.text(self.snapshot)?;
        c.against = keep.text(self.against)?;
        if let Some(progress) = self.progress { c.progress = progress.handle(); }
        Ok(c)
    }
}
/// `lamina_verify_report`.
#[repr(transparent)]
pub struct VerifyReport(sys::lamina_verify_report);
unsafe impl ReportView for VerifyReport { type C = sys::lamina_verify_report; }
unsafe impl Send for VerifyReport {}
unsafe impl Sync for VerifyReport {}
impl VerifyReport {
    pub fn is_intact(&self) -> bool { self.0.is_intact != 0 }
    pub fn is_equal(&self) -> bool { self.0.is_equal != 0 }
    pub fn checked_blocks(&self) -> u64 { self.0.checked_blocks }
    pub fn unchecked_blocks(&self) -> u64 { self.0.unchecked_blocks }
    pub fn corrupt_blocks(&self) -> u64 { self.0.corrupt_blocks }
    pub fn corrupt_live_blocks(&self) -> u64 { self.0.corrupt_live_blocks }
    pub fn compared_blocks(&self) -> u64 { self.0.compared_blocks }
    pub fn different_blocks(&self) -> u64 { self.0.different_blocks }
    pub fn vmstate_corrupt(&self) -> bool { self.0.vmstate_corrupt != 0 }
    pub fn problems(&self) -> impl ExactSizeIterator<Item = Cow<'_, str>> { unsafe { texts(self.0.problems, self.0.problem_count) } }
}
/// `lamina_layer`.
#[repr(transparent)]
pub struct Layer(sys::lamina_layer);
unsafe impl ReportView for Layer { type C = sys::lamina_layer; }
unsafe impl Send for Layer {}
unsafe impl Sync for Layer {}
impl Layer {
    pub fn build_id(&self) -> Uuid { Uuid(self.0.build_id) }
    pub fn has_checksums(&self) -> HasChecksums { HasChecksums(self.0.has_checksums) }
    pub fn has_file(&self) -> bool { self.0.has_file != 0 }
    pub fn live_blocks(&self) -> u64 { self.0.live_blocks }
    pub fn extents(&self) -> u64 { self.0.extents }
    pub fn path(&self) -> &Path { unsafe { path_at(self.0.path) } }
    pub fn layout(&self) -> Cow<'_, str> { unsafe { text_at(self.0.layout) } }
    pub fn dead_blocks(&self) -> u64 { self.0.dead_blocks }
    pub fn size_bytes(&self) -> u64 { self.0.size_bytes }
    pub fn allocated_bytes(&self) -> u64 { self.0.allocated_bytes }
}
/// `lamina_pause_record`.
#[repr(transparent)]
pub struct PauseRecord(sys::lamina_pause_record);
unsafe impl ReportView for PauseRecord { type C = sys::lamina_pause_record; }
unsafe impl Send for PauseRecord {}
unsafe impl Sync for PauseRecord {}
impl PauseRecord {
    pub fn reason(&self) -> Cow<'_, str> { unsafe { text_at(self.0.reason) } }
    pub fn is_diff(&self) -> bool { self.0.is_diff != 0 }
    pub fn has_phases(&self) -> bool { self.0.has_phases != 0 }
    pub fn prepare_ms(&self) -> f64 { self.0.prepare_ms }
    pub fn pause_ms(&self) -> f64 { self.0.pause_ms }
    pub fn create_ms(&self) -> f64 { self.0.create_ms }
    pub fn journal_ms(&self) -> f64 { self.0.journal_ms }
    pub fn hook_ms(&self) -> f64 { self.0.hook_ms }
    pub fn resume_ms(&self) -> f64 { self.0.resume_ms }
    pub fn frozen_ms(&self) -> f64 { self.0.frozen_ms }
}
/// `lamina_resume_coverage`.
#[repr(transparent)]
pub struct ResumeCoverage(sys::lamina_resume_coverage);
unsafe impl ReportView for ResumeCoverage { type C = sys::lamina_resume_coverage; }
unsafe impl Send for ResumeCoverage {}
unsafe impl Sync for ResumeCoverage {}
impl ResumeCoverage {
    pub fn time(&self) -> Cow<'_, str> { unsafe { text_at(self.0.time) } }
    pub fn used_blocks(&self) -> u64 { self.0.used_blocks }
    pub fn known_blocks(&self) -> u64 { self.0.known_blocks }
    pub fn was_replayed(&self) -> bool { self.0.was_replayed != 0 }
}
/// `lamina_snapshot_info`.
#[repr(transparent)]
pub struct SnapshotInfo(sys::lamina_snapshot_info);
unsafe impl ReportView for SnapshotInfo { type C = sys::lamina_snapshot_info; }
unsafe impl Send for SnapshotInfo {}
unsafe impl Sync for SnapshotInfo {}
impl SnapshotInfo {
    pub fn path(&self) -> &Path { unsafe { path_at(self.0.path) } }
    pub fn build_id(&self) -> Uuid { Uuid(self.0.build_id) }
    pub fn base_build_id(&self) -> Uuid { Uuid(self.0.base_build_id) }
    pub fn pause_id(&self) -> Uuid { Uuid(self.0.pause_id) }
    pub fn parent_pause_id(&self) -> Uuid { Uuid(self.0.parent_pause_id) }
    pub fn created(&self) -> Cow<'_, str> { unsafe { text_at(self.0.created) } }
    pub fn huge_pages(&self) -> Cow<'_, str> { unsafe { text_at(self.0.huge_pages) } }
    pub fn generation(&self) -> u64 { self.0.generation }
    pub fn memory_bytes(&self) -> u64 { self.0.memory_bytes }
    pub fn zero_blocks(&self) -> u64 { self.0.zero_blocks }
    pub fn vmstate_bytes(&self) -> u64 { self.0.vmstate_bytes }
    pub fn has_vmstate(&self) -> bool { self.0.has_vmstate != 0 }
    pub fn header(&self) -> HeaderFormat { HeaderFormat(self.0.header) }
    pub fn windows(&self) -> u32 { self.0.windows }
    pub fn max_extents_per_window(&self) -> u32 { self.0.max_extents_per_window }
    pub fn mean_extents_per_window(&self) -> f64 { self.0.mean_extents_per_window }
    pub fn layers(&self) -> impl ExactSizeIterator<Item = &Layer> { unsafe { items(self.0.layers, self.0.layer_count) } }
    pub fn extents(&self) -> &[sys::lamina_extent] { unsafe { slice(self.0.extents, self.0.extent_count) } }
    pub fn pause(&self) -> Option<&PauseRecord> { unsafe { item_at(self.0.pause) } }
    pub fn working_set_blocks(&self) -> u64 { self.0.working_set_blocks }
    pub fn last_resumes(&self) -> impl ExactSizeIterator<Item = &ResumeCoverage> { unsafe { items(self.0.last_resumes, self.0.last_resume_count) } }
    pub fn once(&self) -> bool { self.0.once != 0 }
    pub fn is_consumed(&self) -> bool { self.0.is_consumed != 0 }
}
/// `lamina_list_options`. Empty, `None` and 0 are the defaults.
#[derive(Clone, Copy, Default)]
pub struct ListOptions<'a> {
    pub path: &'a OsStr,
    pub dead_bytes: bool,
}
impl Options for ListOptions<'_> {
    type C = sys::lamina_list_options;
    fn to_c<'k>(&'k self, keep: &mut Keep<'k>) -> Result<sys::lamina_list_options, Error> {
        // All zeros are valid, and the default.
        let mut c: sys::lamina_list_options = unsafe { std::mem::zeroed() };
        c.struct_size = std::mem::size_of::<sys::lamina_list_options>();
        c.path = keep.text(self.path)?;
        c.dead_bytes = u32::from(self.dead_bytes);
        Ok(c)
    }
}
/// `lamina_snapshot_listing`.
#[repr(transparent)]
pub struct SnapshotListing(sys::lamina_snapshot_listing);
unsafe impl ReportView for SnapshotListing { type C = sys::lamina_snapshot_listing; }
unsafe impl Send for SnapshotListing {}
unsafe impl Sync for SnapshotListing {}
impl SnapshotListing {
    pub fn name(&self) -> Cow<'_, str> { unsafe { text_at(self.0.name) } }
    pub fn error(&self) -> Option<Error> { unsafe { error_at(self.0.error) } }
    pub fn pause_id(&self) -> Uuid { Uuid(self.0.pause_id) }
    pub fn parent_pause_id(&self) -> Uuid { Uuid(self.0.parent_pause_id) }
    pub fn parent(&self) -> Cow<'_, str> { unsafe { text_at(self.0.parent) } }
    pub fn created(&self) -> Cow<'_, str> { unsafe { text_at(self.0.created) } }
    pub fn generation(&self) -> u64 { self.0.generation }
    pub fn layers(&self) -> u64 { self.0.layers }
    pub fn memory_bytes(&self) -> u64 { self.0.memory_bytes }
    pub fn header(&self) -> HeaderFormat { HeaderFormat(self.0.header) }
    pub fn has_vmstate(&self) -> bool { self.0.has_vmstate != 0 }
    pub fn own_bytes(&self) -> u64 { self.0.own_bytes }
    pub fn shared_bytes(&self) -> u64 { self.0.shared_bytes }
    pub fn dead_bytes(&self) -> u64 { self.0.dead_bytes }
    pub fn has_dead_bytes(&self) -> bool { self.0.has_dead_bytes != 0 }
    pub fn running(&self) -> u64 { self.0.running }
    pub fn resumes(&self) -> u64 { self.0.resumes }
    pub fn files(&self) -> &[sys::lamina_file_use] { unsafe { slice(self.0.files, self.0.file_count) } }
    pub fn ancestors(&self) -> &[sys::lamina_uuid] { unsafe { slice(self.0.ancestors, self.0.ancestor_count) } }
    pub fn pause(&self) -> Option<&PauseRecord> { unsafe { item_at(self.0.pause) } }
}
/// `lamina_pin_listing`.
#[repr(transparent)]
pub struct PinListing(sys::lamina_pin_listing);
unsafe impl ReportView for PinListing { type C = sys::lamina_pin_listing; }
unsafe impl Send for PinListing {}
unsafe impl Sync for PinListing {}
impl PinListing {
    pub fn name(&self) -> Cow<'_, str> { unsafe { text_at(self.0.name) } }
    pub fn error(&self) -> Option<Error> { unsafe { error_at(self.0.error) } }
    pub fn pid(&self) -> i64 { self.0.pid }
    pub fn foreign(&self) -> Cow<'_, str> { unsafe { text_at(self.0.foreign) } }
    pub fn snapshot(&self) -> &Path { unsafe { path_at(self.0.snapshot) } }
    pub fn base_pause_id(&self) -> Uuid { Uuid(self.0.base_pause_id) }
    pub fn map(&self) -> Uuid { Uuid(self.0.map) }
    pub fn since(&self) -> Cow<'_, str> { unsafe { text_at(self.0.since) } }
    pub fn running(&self) -> bool { self.0.running != 0 }
    pub fn by_page_faults(&self) -> bool { self.0.by_page_faults != 0 }
}
/// `lamina_pending_listing`.
#[repr(transparent)]
pub struct PendingListing(sys::lamina_pending_listing);
unsafe impl ReportView for PendingListing { type C = sys::lamina_pending_listing; }
unsafe impl Send for PendingListing {}
unsafe impl Sync for PendingListing {}
impl PendingListing {
    pub fn id(&self) -> Uuid { Uuid(self.0.id) }
    pub fn allocated_bytes(&self) -> u64 { self.0.allocated_bytes }
    pub fn since(&self) -> Cow<'_, str> { unsafe { text_at(self.0.since) } }
    pub fn foreign(&self) -> Cow<'_, str> { unsafe { text_at(self.0.foreign) } }
    pub fn kind(&self) -> PendingKind { PendingKind(self.0.kind) }
}
/// `lamina_map_listing`.
#[repr(transparent)]
pub struct MapListing(sys::lamina_map_listing);
unsafe impl ReportView for MapListing { type C = sys::lamina_map_listing; }
unsafe impl Send for MapListing {}
unsafe impl Sync for MapListing {}
impl MapListing {
    pub fn pause_id(&self) -> Uuid { Uuid(self.0.pause_id) }
    pub fn allocated_bytes(&self) -> u64 { self.0.allocated_bytes }
    pub fn used(&self) -> bool { self.0.used != 0 }
}
/// `lamina_listing`.
#[repr(transparent)]
pub struct Listing(sys::lamina_listing);
unsafe impl ReportView for Listing { type C = sys::lamina_listing; }
unsafe impl Send for Listing {}
unsafe impl Sync for Listing {}
impl Listing {
    pub fn path(&self) -> &Path { unsafe { path_at(self.0.path) } }
    pub fn snapshots(&self) -> impl ExactSizeIterator<Item = &SnapshotListing> { unsafe { items(self.0.snapshots, self.0.snapshot_count) } }
    pub fn pins(&self) -> impl ExactSizeIterator<Item = &PinListing> { unsafe { items(self.0.pins, self.0.pin_count) } }
    pub fn pending(&self) -> impl ExactSizeIterator<Item = &PendingListing> { unsafe { items(self.0.pending, self.0.pending_count) } }
    pub fn maps(&self) -> impl ExactSizeIterator<Item = &MapListing> { unsafe { items(self.0.maps, self.0.map_count) } }
    pub fn snapshot_bytes(&self) -> u64 { self.0.snapshot_bytes }
    pub fn pin_bytes(&self) -> u64 { self.0.pin_bytes }
    pub fn pending_bytes(&self) -> u64 { self.0.pending_bytes }
    pub fn temporary_bytes(&self) -> u64 { self.0.temporary_bytes }
    pub fn map_bytes(&self) -> u64 { self.0.map_bytes }
    pub fn notes(&self) -> impl ExactSizeIterator<Item = Cow<'_, str>> { unsafe { texts(self.0.notes, self.0.note_count) } }
}
/// `lamina_repair_report`.
#[repr(transparent)]
pub struct RepairReport(sys::lamina_repair_report);
unsafe impl ReportView for RepairReport { type C = sys::lamina_repair_report; }
unsafe impl Send for RepairReport {}
unsafe impl Sync for RepairReport {}
impl RepairReport {
    pub fn header_rebuilt(&self) -> bool { self.0.header_rebuilt != 0 }
    pub fn facts_rebuilt(&self) -> bool { self.0.facts_rebuilt != 0 }
    pub fn notes(&self) -> impl ExactSizeIterator<Item = Cow<'_, str>> { unsafe { texts(self.0.notes, self.0.note_count) } }
}
/// `lamina_fork_options`. Empty, `None` and 0 are the defaults.
#[derive(Clone, Copy, Default)]
pub struct ForkOptions<'a> {
    pub snapshot: &'a OsStr,
    pub fork: &'a OsStr,
    pub progress: Option<&'a Progress>,
}
impl Options for ForkOptions<'_> {
    type C = sys::lamina_fork_options;
    fn to_c<'k>(&'k self, keep: &mut Keep<'k>) -> Result<sys::lamina_fork_options, Error> {
        // All zeros are valid, and the default.
        let mut c: sys::lamina_fork_options = unsafe { std::mem::zeroed() };
        c.struct_size = std::mem::size_of::<sys::lamina_fork_options>();
        c.snapshot = keep.text(self.snapshot)?;
        c.fork = keep.text(self.fork)?;
        if let Some(progress) = self.progress { c.progress = progress.handle(); }
        Ok(c)
    }
}
/// `lamina_fork_report`.
#[repr(transparent)]
pub struct ForkReport(sys::lamina_fork_report);
unsafe impl ReportView for ForkReport { type C = sys::lamina_fork_report; }
unsafe impl Send for ForkReport {}
unsafe impl Sync for ForkReport {}
impl ForkReport {
    pub fn fork(&self) -> &Path { unsafe { path_at(self.0.fork) } }
    pub fn pause_id(&self) -> Uuid { Uuid(self.0.pause_id) }
    pub fn generation(&self) -> u64 { self.0.generation }
    pub fn linked_layers(&self) -> u32 { self.0.linked_layers }
    pub fn copied_layers(&self) -> u32 { self.0.copied_layers }
    pub fn linked_bytes(&self) -> u64 { self.0.linked_bytes }
    pub fn copied_bytes(&self) -> u64 { self.0.copied_bytes }
    pub fn notes(&self) -> impl ExactSizeIterator<Item = Cow<'_, str>> { unsafe { texts(self.0.notes, self.0.note_count) } }
}
/// `lamina_remove_options`. Empty, `None` and 0 are the defaults.
#[derive(Clone, Copy, Default)]
pub struct RemoveOptions<'a> {
    pub snapshots: &'a [&'a OsStr],
    pub dry_run: bool,
    pub progress: Option<&'a Progress>,
    pub pause_id: Option<&'a Uuid>,
}
impl Options for RemoveOptions<'_> {
    type C = sys::lamina_remove_options;
    fn to_c<'k>(&'k self, keep: &mut Keep<'k>) -> Result<sys::lamina_remove_options, Error> {
        // All zeros are valid, and the default.
        let mut c: sys::lamina_remove_options = unsafe { std::mem::zeroed() };
        c.struct_size = std::mem::size_of::<sys::lamina_remove_options>();
        c.snapshots = keep.texts(self.snapshots)?; c.snapshot_count = self.snapshots.len();
        c.dry_run = u32::from(self.dry_run);
        if let Some(progress) = self.progress { c.progress = progress.handle(); }
        if let Some(id) = self.pause_id { c.pause_id = &id.0; }
        Ok(c)
    }
}
/// `lamina_removed_snapshot`.
#[repr(transparent)]
pub struct RemovedSnapshot(sys::lamina_removed_snapshot);
unsafe impl ReportView for RemovedSnapshot { type C = sys::lamina_removed_snapshot; }
unsafe impl Send for RemovedSnapshot {}
unsafe impl Sync for RemovedSnapshot {}
impl RemovedSnapshot {
    pub fn snapshot(&self) -> &Path { unsafe { path_at(self.0.snapshot) } }
    pub fn error(&self) -> Option<Error> { unsafe { error_at(self.0.error) } }
    pub fn pause_id(&self) -> Uuid { Uuid(self.0.pause_id) }
    pub fn running_vms(&self) -> u64 { self.0.running_vms }
    pub fn freed_bytes(&self) -> u64 { self.0.freed_bytes }
    pub fn remaining_bytes(&self) -> u64 { self.0.remaining_bytes }
}
/// `lamina_remove_report`.
#[repr(transparent)]
pub struct RemoveReport(sys::lamina_remove_report);
unsafe impl ReportView for RemoveReport { type C = sys::lamina_remove_report; }
unsafe impl Send for RemoveReport {}
unsafe impl Sync for RemoveReport {}
impl RemoveReport {
    pub fn snapshots(&self) -> impl ExactSizeIterator<Item = &RemovedSnapshot> { unsafe { items(self.0.snapshots, self.0.snapshot_count) } }
    pub fn notes(&self) -> impl ExactSizeIterator<Item = Cow<'_, str>> { unsafe { texts(self.0.notes, self.0.note_count) } }
}
/// `lamina_vmm`. Empty, `None` and 0 are the defaults.
#[derive(Clone, Copy, Default)]
pub struct Vmm<'a> {
    pub api_socket: &'a OsStr,
    pub jail: &'a OsStr,
    pub request_timeout_ms: u64,
    pub create_timeout_ms: u64,
    pub load_timeout_ms: u64,
}
impl Options for Vmm<'_> {
    type C = sys::lamina_vmm;
    fn to_c<'k>(&'k self, keep: &mut Keep<'k>) -> Result<sys::lamina_vmm, Error> {
        // All zeros are valid, and the default.
        let mut c: sys::lamina_vmm = unsafe { std::mem::zeroed() };
        c.struct_size = std::mem::size_of::<sys::lamina_vmm>();
        c.api_socket = keep.text(self.api_socket)?;
        c.jail = keep.text(self.jail)?;
        c.request_timeout_ms = self.request_timeout_ms;
        c.create_timeout_ms = self.create_timeout_ms;
        c.load_timeout_ms = self.load_timeout_ms;
        Ok(c)
    }
}
/// `lamina_pause_options`. Empty, `None` and 0 are the defaults.
#[derive(Clone, Copy, Default)]
pub struct PauseOptions<'a> {
    pub vmm: Vmm<'a>,
    pub name: &'a OsStr,
    pub frozen_hook: &'a OsStr,
    pub hook_timeout_ms: u64,
    pub while_frozen: Option<&'a dyn Fn() -> i32>,
    pub attachments: &'a [&'a OsStr],
    pub pause_id: Option<&'a Uuid>,
    pub page_server_command: &'a [&'a OsStr],
    pub after: AfterPause,
    pub full: bool,
    pub replace: bool,
    pub freeze_memory_bytes: u64,
    pub freeze_directory: &'a OsStr,
    pub progress: Option<&'a Progress>,
    pub once: bool,
}
impl Options for PauseOptions<'_> {
    type C = sys::lamina_pause_options;
    fn to_c<'k>(&'k self, keep: &mut Keep<'k>) -> Result<sys::lamina_pause_options, Error> {
        // All zeros are valid, and the default.
        let mut c: sys::lamina_pause_options = unsafe { std::mem::zeroed() };
        c.struct_size = std::mem::size_of::<sys::lamina_pause_options>();
        let vmm = self.vmm.to_c(keep)?; c.vmm = keep.vmm(vmm);
        c.name = keep.text(self.name)?;
        c.frozen_hook = keep.text(self.frozen_hook)?;
        c.hook_timeout_ms = self.hook_timeout_ms;
        if let Some(function) = self.while_frozen { c.while_frozen = Some(call_while_frozen); c.context = keep.function(function); }
        c.attachments = keep.texts(self.attachments)?; c.attachment_count = self.attachments.len();
        if let Some(id) = self.pause_id { c.pause_id = &id.0; }
        c.page_server_command = keep.texts(self.page_server_command)?; c.page_server_argument_count = self.page_server_command.len();
        c.after = self.after.0;
        c.full = u32::from(self.full);
        c.replace = u32::from(self.replace);
        c.freeze_memory_bytes = self.freeze_memory_bytes;
        c.freeze_directory = keep.text(self.freeze_directory)?;
        if let Some(progress) = self.progress { c.progress = progress.handle(); }
        c.once = u32::from(self.once);
        Ok(c)
    }
}
/// `lamina_pause_report`.
#[repr(transparent)]
pub struct PauseReport(sys::lamina_pause_report);
unsafe impl ReportView for PauseReport { type C = sys::lamina_pause_report; }
unsafe impl Send for PauseReport {}
unsafe impl Sync for PauseReport {}
impl PauseReport {
    pub fn snapshot(&self) -> &Path { unsafe { path_at(self.0.snapshot) } }
    pub fn pause_id(&self) -> Uuid { Uuid(self.0.pause_id) }
    pub fn parent_pause_id(&self) -> Uuid { Uuid(self.0.parent_pause_id) }
    pub fn reason(&self) -> Cow<'_, str> { unsafe { text_at(self.0.reason) } }
    pub fn generation(&self) -> u64 { self.0.generation }
    pub fn memory_bytes(&self) -> u64 { self.0.memory_bytes }
    pub fn stored_bytes(&self) -> u64 { self.0.stored_bytes }
    pub fn unchanged_bytes(&self) -> u64 { self.0.unchanged_bytes }
    pub fn is_diff(&self) -> bool { self.0.is_diff != 0 }
    pub fn place(&self) -> PausePlace { PausePlace(self.0.place) }
    pub fn place_reason(&self) -> Cow<'_, str> { unsafe { text_at(self.0.place_reason) } }
    pub fn prepare_ms(&self) -> f64 { self.0.prepare_ms }
    pub fn pause_ms(&self) -> f64 { self.0.pause_ms }
    pub fn create_ms(&self) -> f64 { self.0.create_ms }
    pub fn journal_ms(&self) -> f64 { self.0.journal_ms }
    pub fn hook_ms(&self) -> f64 { self.0.hook_ms }
    pub fn resume_ms(&self) -> f64 { self.0.resume_ms }
    pub fn frozen_ms(&self) -> f64 { self.0.frozen_ms }
    pub fn complete_ms(&self) -> f64 { self.0.complete_ms }
    pub fn publish_ms(&self) -> f64 { self.0.publish_ms }
    pub fn durable_ms(&self) -> f64 { self.0.durable_ms }
    pub fn notes(&self) -> impl ExactSizeIterator<Item = Cow<'_, str>> { unsafe { texts(self.0.notes, self.0.note_count) } }
}
/// `lamina_resume_options`. Empty, `None` and 0 are the defaults.
#[derive(Clone, Copy, Default)]
pub struct ResumeOptions<'a> {
    pub vmm: Vmm<'a>,
    pub name: &'a OsStr,
    pub network_overrides: &'a [(&'a OsStr, &'a OsStr)],
    pub vsock_override: &'a OsStr,
    pub page_server_command: &'a [&'a OsStr],
    pub mode: ResumeMode,
    pub populate: Populate,
    pub huge_pages: HugePages,
    pub record: bool,
    pub clock_realtime: bool,
    pub stay_paused: bool,
    pub progress: Option<&'a Progress>,
    pub mmds: &'a OsStr,
    pub no_record: bool,
    pub again: bool,
    pub drive_overrides: &'a [(&'a OsStr, &'a OsStr)],
    pub serial_override: &'a OsStr,
    pub console_override: &'a OsStr,
}
impl Options for ResumeOptions<'_> {
    type C = sys::lamina_resume_options;
    fn to_c<'k>(&'k self, keep: &mut Keep<'k>) -> Result<sys::lamina_resume_options, Error> {
        // All zeros are valid, and the default.
        let mut c: sys::lamina_resume_options = unsafe { std::mem::zeroed() };
        c.struct_size = std::mem::size_of::<sys::lamina_resume_options>();
        let vmm = self.vmm.to_c(keep)?; c.vmm = keep.vmm(vmm);
        c.name = keep.text(self.name)?;
        c.network_overrides = keep.networks(self.network_overrides)?; c.network_override_count = self.network_overrides.len();
        c.vsock_override = keep.text(self.vsock_override)?;
        c.page_server_command = keep.texts(self.page_server_command)?; c.page_server_argument_count = self.page_server_command.len();
        c.mode = self.mode.0;
        c.populate = self.populate.0;
        c.huge_pages = self.huge_pages.0;
        c.record = u32::from(self.record);
        c.clock_realtime = u32::from(self.clock_realtime);
        c.stay_paused = u32::from(self.stay_paused);
        if let Some(progress) = self.progress { c.progress = progress.handle(); }
        c.mmds = keep.text(self.mmds)?;
        c.no_record = u32::from(self.no_record);
        c.again = u32::from(self.again);
        c.drive_overrides = keep.drives(self.drive_overrides)?; c.drive_override_count = self.drive_overrides.len();
        c.serial_override = keep.text(self.serial_override)?;
        c.console_override = keep.text(self.console_override)?;
        Ok(c)
    }
}
/// `lamina_resume_report`.
#[repr(transparent)]
pub struct ResumeReport(sys::lamina_resume_report);
unsafe impl ReportView for ResumeReport { type C = sys::lamina_resume_report; }
unsafe impl Send for ResumeReport {}
unsafe impl Sync for ResumeReport {}
impl ResumeReport {
    pub fn snapshot(&self) -> &Path { unsafe { path_at(self.0.snapshot) } }
    pub fn pause_id(&self) -> Uuid { Uuid(self.0.pause_id) }
    pub fn pid(&self) -> i32 { self.0.pid }
    pub fn mode(&self) -> ResumeMode { ResumeMode(self.0.mode) }
    pub fn reason(&self) -> Cow<'_, str> { unsafe { text_at(self.0.reason) } }
    pub fn pin_ms(&self) -> f64 { self.0.pin_ms }
    pub fn prepare_ms(&self) -> f64 { self.0.prepare_ms }
    pub fn load_ms(&self) -> f64 { self.0.load_ms }
    pub fn resume_ms(&self) -> f64 { self.0.resume_ms }
    pub fn started_page_server(&self) -> bool { self.0.started_page_server != 0 }
    pub fn notes(&self) -> impl ExactSizeIterator<Item = Cow<'_, str>> { unsafe { texts(self.0.notes, self.0.note_count) } }
    pub fn resume_id(&self) -> Uuid { Uuid(self.0.resume_id) }
    pub fn clone_number(&self) -> u64 { self.0.clone_number }
    pub fn generation_device(&self) -> Cow<'_, str> { unsafe { text_at(self.0.generation_device) } }
}
/// `lamina_clone_devices`. Empty, `None` and 0 are the defaults.
#[derive(Clone, Copy, Default)]
pub struct CloneDevices<'a> {
    pub network_overrides: &'a [(&'a OsStr, &'a OsStr)],
    pub vsock_override: &'a OsStr,
    pub drive_overrides: &'a [(&'a OsStr, &'a OsStr)],
    pub serial_override: &'a OsStr,
    pub console_override: &'a OsStr,
}
impl Options for CloneDevices<'_> {
    type C = sys::lamina_clone_devices;
    fn to_c<'k>(&'k self, keep: &mut Keep<'k>) -> Result<sys::lamina_clone_devices, Error> {
        // All zeros are valid, and the default.
        let mut c: sys::lamina_clone_devices = unsafe { std::mem::zeroed() };
        c.struct_size = std::mem::size_of::<sys::lamina_clone_devices>();
        c.network_overrides = keep.networks(self.network_overrides)?; c.network_override_count = self.network_overrides.len();
        c.vsock_override = keep.text(self.vsock_override)?;
        c.drive_overrides = keep.drives(self.drive_overrides)?; c.drive_override_count = self.drive_overrides.len();
        c.serial_override = keep.text(self.serial_override)?;
        c.console_override = keep.text(self.console_override)?;
        Ok(c)
    }
}
/// `lamina_live_fork_options`. Empty, `None` and 0 are the defaults.
#[derive(Clone, Copy, Default)]
pub struct LiveForkOptions<'a> {
    pub pause: PauseOptions<'a>,
    pub resume: ResumeOptions<'a>,
    pub clones: &'a [Vmm<'a>],
    pub devices: &'a [CloneDevices<'a>],
}
impl Options for LiveForkOptions<'_> {
    type C = sys::lamina_live_fork_options;
    fn to_c<'k>(&'k self, keep: &mut Keep<'k>) -> Result<sys::lamina_live_fork_options, Error> {
        // All zeros are valid, and the default.
        let mut c: sys::lamina_live_fork_options = unsafe { std::mem::zeroed() };
        c.struct_size = std::mem::size_of::<sys::lamina_live_fork_options>();
        let pause = self.pause.to_c(keep)?; c.pause = keep.pause(pause);
        let resume = self.resume.to_c(keep)?; c.resume = keep.resume_of_clones(resume);
        c.clones = keep.clones(self.clones)?; c.clone_count = self.clones.len();
        c.devices = keep.devices(self.devices)?; c.device_count = self.devices.len();
        Ok(c)
    }
}
/// `lamina_live_clone`.
#[repr(transparent)]
pub struct LiveClone(sys::lamina_live_clone);
unsafe impl ReportView for LiveClone { type C = sys::lamina_live_clone; }
unsafe impl Send for LiveClone {}
unsafe impl Sync for LiveClone {}
impl LiveClone {
    pub fn api_socket(&self) -> Cow<'_, str> { unsafe { text_at(self.0.api_socket) } }
    pub fn error(&self) -> Option<Error> { unsafe { error_at(self.0.error) } }
    pub fn resumed(&self) -> Option<&ResumeReport> { unsafe { item_at(self.0.resumed) } }
    pub fn ready_ms(&self) -> f64 { self.0.ready_ms }
}
/// `lamina_live_fork_report`.
#[repr(transparent)]
pub struct LiveForkReport(sys::lamina_live_fork_report);
unsafe impl ReportView for LiveForkReport { type C = sys::lamina_live_fork_report; }
unsafe impl Send for LiveForkReport {}
unsafe impl Sync for LiveForkReport {}
impl LiveForkReport {
    pub fn pause(&self) -> Option<&PauseReport> { unsafe { item_at(self.0.pause) } }
    pub fn clones(&self) -> impl ExactSizeIterator<Item = &LiveClone> { unsafe { items(self.0.clones, self.0.clone_count) } }
    pub fn readable_ms(&self) -> f64 { self.0.readable_ms }
    pub fn clones_ms(&self) -> f64 { self.0.clones_ms }
    pub fn durable_ms(&self) -> f64 { self.0.durable_ms }
    pub fn notes(&self) -> impl ExactSizeIterator<Item = Cow<'_, str>> { unsafe { texts(self.0.notes, self.0.note_count) } }
}
/// `lamina_recover_options`. Empty, `None` and 0 are the defaults.
#[derive(Clone, Copy, Default)]
pub struct RecoverOptions<'a> {
    pub request_timeout_ms: u64,
    pub create_timeout_ms: u64,
    pub load_timeout_ms: u64,
    pub page_server_command: &'a [&'a OsStr],
    pub give_up: &'a [Uuid],
    pub dry_run: bool,
    pub adopt_store: bool,
    pub progress: Option<&'a Progress>,
}
impl Options for RecoverOptions<'_> {
    type C = sys::lamina_recover_options;
    fn to_c<'k>(&'k self, keep: &mut Keep<'k>) -> Result<sys::lamina_recover_options, Error> {
        // All zeros are valid, and the default.
        let mut c: sys::lamina_recover_options = unsafe { std::mem::zeroed() };
        c.struct_size = std::mem::size_of::<sys::lamina_recover_options>();
        c.request_timeout_ms = self.request_timeout_ms;
        c.create_timeout_ms = self.create_timeout_ms;
        c.load_timeout_ms = self.load_timeout_ms;
        c.page_server_command = keep.texts(self.page_server_command)?; c.page_server_argument_count = self.page_server_command.len();
        c.give_up = self.give_up.as_ptr().cast(); c.give_up_count = self.give_up.len();
        c.dry_run = u32::from(self.dry_run);
        c.adopt_store = u32::from(self.adopt_store);
        if let Some(progress) = self.progress { c.progress = progress.handle(); }
        Ok(c)
    }
}
/// `lamina_arrival`.
#[repr(transparent)]
pub struct Arrival(sys::lamina_arrival);
unsafe impl ReportView for Arrival { type C = sys::lamina_arrival; }
unsafe impl Send for Arrival {}
unsafe impl Sync for Arrival {}
impl Arrival {
    pub fn id(&self) -> Uuid { Uuid(self.0.id) }
    pub fn name(&self) -> Cow<'_, str> { unsafe { text_at(self.0.name) } }
    pub fn bucket(&self) -> Cow<'_, str> { unsafe { text_at(self.0.bucket) } }
    pub fn bytes(&self) -> u64 { self.0.bytes }
    pub fn frames(&self) -> u64 { self.0.frames }
    pub fn frames_here(&self) -> u64 { self.0.frames_here }
    pub fn vms(&self) -> u64 { self.0.vms }
    pub fn has_fetcher(&self) -> bool { self.0.has_fetcher != 0 }
    pub fn is_being_resumed(&self) -> bool { self.0.is_being_resumed != 0 }
    pub fn is_lost(&self) -> bool { self.0.is_lost != 0 }
    pub fn is_removed(&self) -> bool { self.0.is_removed != 0 }
}
/// `lamina_recover_report`.
#[repr(transparent)]
pub struct RecoverReport(sys::lamina_recover_report);
unsafe impl ReportView for RecoverReport { type C = sys::lamina_recover_report; }
unsafe impl Send for RecoverReport {}
unsafe impl Sync for RecoverReport {}
impl RecoverReport {
    pub fn completed(&self) -> u64 { self.0.completed }
    pub fn discarded(&self) -> u64 { self.0.discarded }
    pub fn queued(&self) -> u64 { self.0.queued }
    pub fn released_pins(&self) -> u64 { self.0.released_pins }
    pub fn removed_maps(&self) -> u64 { self.0.removed_maps }
    pub fn resumed_vms(&self) -> u64 { self.0.resumed_vms }
    pub fn foreign(&self) -> u64 { self.0.foreign }
    pub fn adopted(&self) -> u64 { self.0.adopted }
    pub fn notes(&self) -> impl ExactSizeIterator<Item = Cow<'_, str>> { unsafe { texts(self.0.notes, self.0.note_count) } }
    pub fn arrivals(&self) -> impl ExactSizeIterator<Item = &Arrival> { unsafe { items(self.0.arrivals, self.0.arrival_count) } }
    pub fn removed_arrivals(&self) -> u64 { self.0.removed_arrivals }
}
/// `lamina_pack_options`. Empty, `None` and 0 are the defaults.
#[derive(Clone, Copy, Default)]
pub struct PackOptions<'a> {
    pub snapshot: &'a OsStr,
    pub out: &'a OsStr,
    pub key_file: &'a OsStr,
    pub key_command: &'a OsStr,
    pub codec: PackCodec,
    pub frame_blocks: u32,
    pub progress: Option<&'a Progress>,
}
impl Options for PackOptions<'_> {
    type C = sys::lamina_pack_options;
    fn to_c<'k>(&'k self, keep: &mut Keep<'k>) -> Result<sys::lamina_pack_options, Error> {
        // All zeros are valid, and the default.
        let mut c: sys::lamina_pack_options = unsafe { std::mem::zeroed() };
        c.struct_size = std::mem::size_of::<sys::lamina_pack_options>();
        c.snapshot = keep.text(self.snapshot)?;
        c.out = keep.text(self.out)?;
        c.key_file = keep.text(self.key_file)?;
        c.key_command = keep.text(self.key_command)?;
        c.codec = self.codec.0;
        c.frame_blocks = self.frame_blocks;
        if let Some(progress) = self.progress { c.progress = progress.handle(); }
        Ok(c)
    }
}
/// `lamina_pack_report`.
#[repr(transparent)]
pub struct PackReport(sys::lamina_pack_report);
unsafe impl ReportView for PackReport { type C = sys::lamina_pack_report; }
unsafe impl Send for PackReport {}
unsafe impl Sync for PackReport {}
impl PackReport {
    pub fn pause_id(&self) -> Uuid { Uuid(self.0.pause_id) }
    pub fn memory_bytes(&self) -> u64 { self.0.memory_bytes }
    pub fn data_bytes(&self) -> u64 { self.0.data_bytes }
    pub fn packed_bytes(&self) -> u64 { self.0.packed_bytes }
    pub fn layers(&self) -> u32 { self.0.layers }
    pub fn files(&self) -> u32 { self.0.files }
    pub fn is_encrypted(&self) -> bool { self.0.is_encrypted != 0 }
    pub fn notes(&self) -> impl ExactSizeIterator<Item = Cow<'_, str>> { unsafe { texts(self.0.notes, self.0.note_count) } }
}
/// `lamina_unpack_options`. Empty, `None` and 0 are the defaults.
#[derive(Clone, Copy, Default)]
pub struct UnpackOptions<'a> {
    pub file: &'a OsStr,
    pub snapshot: &'a OsStr,
    pub key_file: &'a OsStr,
    pub key_command: &'a OsStr,
    pub progress: Option<&'a Progress>,
}
impl Options for UnpackOptions<'_> {
    type C = sys::lamina_unpack_options;
    fn to_c<'k>(&'k self, keep: &mut Keep<'k>) -> Result<sys::lamina_unpack_options, Error> {
        // All zeros are valid, and the default.
        let mut c: sys::lamina_unpack_options = unsafe { std::mem::zeroed() };
        c.struct_size = std::mem::size_of::<sys::lamina_unpack_options>();
        c.file = keep.text(self.file)?;
        c.snapshot = keep.text(self.snapshot)?;
        c.key_file = keep.text(self.key_file)?;
        c.key_command = keep.text(self.key_command)?;
        if let Some(progress) = self.progress { c.progress = progress.handle(); }
        Ok(c)
    }
}
/// `lamina_unpack_report`.
#[repr(transparent)]
pub struct UnpackReport(sys::lamina_unpack_report);
unsafe impl ReportView for UnpackReport { type C = sys::lamina_unpack_report; }
unsafe impl Send for UnpackReport {}
unsafe impl Sync for UnpackReport {}
impl UnpackReport {
    pub fn snapshot(&self) -> &Path { unsafe { path_at(self.0.snapshot) } }
    pub fn pause_id(&self) -> Uuid { Uuid(self.0.pause_id) }
    pub fn generation(&self) -> u64 { self.0.generation }
    pub fn memory_bytes(&self) -> u64 { self.0.memory_bytes }
    pub fn data_bytes(&self) -> u64 { self.0.data_bytes }
    pub fn packed_bytes(&self) -> u64 { self.0.packed_bytes }
    pub fn layers(&self) -> u32 { self.0.layers }
    pub fn files(&self) -> u32 { self.0.files }
    pub fn notes(&self) -> impl ExactSizeIterator<Item = Cow<'_, str>> { unsafe { texts(self.0.notes, self.0.note_count) } }
}
/// `lamina_push_options`. Empty, `None` and 0 are the defaults.
#[derive(Clone, Copy, Default)]
pub struct PushOptions<'a> {
    pub url: &'a OsStr,
    pub snapshot: &'a OsStr,
    pub name: &'a OsStr,
    pub key_file: &'a OsStr,
    pub key_command: &'a OsStr,
    pub codec: PackCodec,
    pub replace: bool,
    pub rate_limit_bytes_s: u64,
    pub background: bool,
    pub progress: Option<&'a Progress>,
    pub dry_run: bool,
}
impl Options for PushOptions<'_> {
    type C = sys::lamina_push_options;
    fn to_c<'k>(&'k self, keep: &mut Keep<'k>) -> Result<sys::lamina_push_options, Error> {
        // All zeros are valid, and the default.
        let mut c: sys::lamina_push_options = unsafe { std::mem::zeroed() };
        c.struct_size = std::mem::size_of::<sys::lamina_push_options>();
        c.url = keep.text(self.url)?;
        c.snapshot = keep.text(self.snapshot)?;
        c.name = keep.text(self.name)?;
        c.key_file = keep.text(self.key_file)?;
        c.key_command = keep.text(self.key_command)?;
        c.codec = self.codec.0;
        c.replace = u32::from(self.replace);
        c.rate_limit_bytes_s = self.rate_limit_bytes_s;
        c.background = u32::from(self.background);
        if let Some(progress) = self.progress { c.progress = progress.handle(); }
        c.dry_run = u32::from(self.dry_run);
        Ok(c)
    }
}
/// `lamina_push_report`.
#[repr(transparent)]
pub struct PushReport(sys::lamina_push_report);
unsafe impl ReportView for PushReport { type C = sys::lamina_push_report; }
unsafe impl Send for PushReport {}
unsafe impl Sync for PushReport {}
impl PushReport {
    pub fn snapshot(&self) -> &Path { unsafe { path_at(self.0.snapshot) } }
    pub fn name(&self) -> Cow<'_, str> { unsafe { text_at(self.0.name) } }
    pub fn number(&self) -> u64 { self.0.number }
    pub fn pause_id(&self) -> Uuid { Uuid(self.0.pause_id) }
    pub fn is_conflict(&self) -> bool { self.0.is_conflict != 0 }
    pub fn is_already_there(&self) -> bool { self.0.is_already_there != 0 }
    pub fn uploaded_objects(&self) -> u32 { self.0.uploaded_objects }
    pub fn reused_objects(&self) -> u32 { self.0.reused_objects }
    pub fn data_bytes(&self) -> u64 { self.0.data_bytes }
    pub fn uploaded_bytes(&self) -> u64 { self.0.uploaded_bytes }
    pub fn reused_bytes(&self) -> u64 { self.0.reused_bytes }
    pub fn notes(&self) -> impl ExactSizeIterator<Item = Cow<'_, str>> { unsafe { texts(self.0.notes, self.0.note_count) } }
}
/// `lamina_pull_options`. Empty, `None` and 0 are the defaults.
#[derive(Clone, Copy, Default)]
pub struct PullOptions<'a> {
    pub url: &'a OsStr,
    pub name: &'a OsStr,
    pub r#as: &'a OsStr,
    pub key_file: &'a OsStr,
    pub key_command: &'a OsStr,
    pub progress: Option<&'a Progress>,
    pub cache_bytes: u64,
}
impl Options for PullOptions<'_> {
    type C = sys::lamina_pull_options;
    fn to_c<'k>(&'k self, keep: &mut Keep<'k>) -> Result<sys::lamina_pull_options, Error> {
        // All zeros are valid, and the default.
        let mut c: sys::lamina_pull_options = unsafe { std::mem::zeroed() };
        c.struct_size = std::mem::size_of::<sys::lamina_pull_options>();
        c.url = keep.text(self.url)?;
        c.name = keep.text(self.name)?;
        c.r#as = keep.text(self.r#as)?;
        c.key_file = keep.text(self.key_file)?;
        c.key_command = keep.text(self.key_command)?;
        if let Some(progress) = self.progress { c.progress = progress.handle(); }
        c.cache_bytes = self.cache_bytes;
        Ok(c)
    }
}
/// `lamina_pull_report`.
#[repr(transparent)]
pub struct PullReport(sys::lamina_pull_report);
unsafe impl ReportView for PullReport { type C = sys::lamina_pull_report; }
unsafe impl Send for PullReport {}
unsafe impl Sync for PullReport {}
impl PullReport {
    pub fn snapshot(&self) -> &Path { unsafe { path_at(self.0.snapshot) } }
    pub fn name(&self) -> Cow<'_, str> { unsafe { text_at(self.0.name) } }
    pub fn number(&self) -> u64 { self.0.number }
    pub fn pause_id(&self) -> Uuid { Uuid(self.0.pause_id) }
    pub fn generation(&self) -> u64 { self.0.generation }
    pub fn memory_bytes(&self) -> u64 { self.0.memory_bytes }
    pub fn linked_layers(&self) -> u32 { self.0.linked_layers }
    pub fn fetched_layers(&self) -> u32 { self.0.fetched_layers }
    pub fn data_bytes(&self) -> u64 { self.0.data_bytes }
    pub fn fetched_bytes(&self) -> u64 { self.0.fetched_bytes }
    pub fn notes(&self) -> impl ExactSizeIterator<Item = Cow<'_, str>> { unsafe { texts(self.0.notes, self.0.note_count) } }
    pub fn cache_bytes(&self) -> u64 { self.0.cache_bytes }
    pub fn evicted(&self) -> impl ExactSizeIterator<Item = Cow<'_, str>> { unsafe { texts(self.0.evicted, self.0.evicted_count) } }
    pub fn evicted_bytes(&self) -> u64 { self.0.evicted_bytes }
}
/// `lamina_begin_pull_options`. Empty, `None` and 0 are the defaults.
#[derive(Clone, Copy, Default)]
pub struct BeginPullOptions<'a> {
    pub url: &'a OsStr,
    pub name: &'a OsStr,
    pub r#as: &'a OsStr,
    pub key_file: &'a OsStr,
    pub key_command: &'a OsStr,
    pub fetch_command: &'a [&'a OsStr],
    pub wait_limit_s: u64,
    pub progress: Option<&'a Progress>,
    pub cache_bytes: u64,
}
impl Options for BeginPullOptions<'_> {
    type C = sys::lamina_begin_pull_options;
    fn to_c<'k>(&'k self, keep: &mut Keep<'k>) -> Result<sys::lamina_begin_pull_options, Error> {
        // All zeros are valid, and the default.
        let mut c: sys::lamina_begin_pull_options = unsafe { std::mem::zeroed() };
        c.struct_size = std::mem::size_of::<sys::lamina_begin_pull_options>();
        c.url = keep.text(self.url)?;
        c.name = keep.text(self.name)?;
        c.r#as = keep.text(self.r#as)?;
        c.key_file = keep.text(self.key_file)?;
        c.key_command = keep.text(self.key_command)?;
        c.fetch_command = keep.texts(self.fetch_command)?; c.fetch_argument_count = self.fetch_command.len();
        c.wait_limit_s = self.wait_limit_s;
        if let Some(progress) = self.progress { c.progress = progress.handle(); }
        c.cache_bytes = self.cache_bytes;
        Ok(c)
    }
}
/// `lamina_begin_pull_report`.
#[repr(transparent)]
pub struct BeginPullReport(sys::lamina_begin_pull_report);
unsafe impl ReportView for BeginPullReport { type C = sys::lamina_begin_pull_report; }
unsafe impl Send for BeginPullReport {}
unsafe impl Sync for BeginPullReport {}
impl BeginPullReport {
    pub fn pull(&self) -> Option<&PullReport> { unsafe { item_at(self.0.pull) } }
    pub fn is_arriving(&self) -> bool { self.0.is_arriving != 0 }
    pub fn is_already_there(&self) -> bool { self.0.is_already_there != 0 }
}
/// `lamina_fetch_options`. Empty, `None` and 0 are the defaults.
#[derive(Clone, Copy, Default)]
pub struct FetchOptions<'a> {
    pub arrival: Option<&'a Uuid>,
    pub progress: Option<&'a Progress>,
}
impl Options for FetchOptions<'_> {
    type C = sys::lamina_fetch_options;
    fn to_c<'k>(&'k self, _keep: &mut Keep<'k>) -> Result<sys::lamina_fetch_options, Error> {
        // All zeros are valid, and the default.
        let mut c: sys::lamina_fetch_options = unsafe { std::mem::zeroed() };
        c.struct_size = std::mem::size_of::<sys::lamina_fetch_options>();
        if let Some(id) = self.arrival { c.arrival = &id.0; }
        if let Some(progress) = self.progress { c.progress = progress.handle(); }
        Ok(c)
    }
}
/// `lamina_fetch_report`.
#[repr(transparent)]
pub struct FetchReport(sys::lamina_fetch_report);
unsafe impl ReportView for FetchReport { type C = sys::lamina_fetch_report; }
unsafe impl Send for FetchReport {}
unsafe impl Sync for FetchReport {}
impl FetchReport {
    pub fn snapshot(&self) -> &Path { unsafe { path_at(self.0.snapshot) } }
    pub fn name(&self) -> Cow<'_, str> { unsafe { text_at(self.0.name) } }
    pub fn fetched_bytes(&self) -> u64 { self.0.fetched_bytes }
    pub fn notes(&self) -> impl ExactSizeIterator<Item = Cow<'_, str>> { unsafe { texts(self.0.notes, self.0.note_count) } }
}
/// `lamina_remote_list_options`. Empty, `None` and 0 are the defaults.
#[derive(Clone, Copy, Default)]
pub struct RemoteListOptions<'a> {
    pub url: &'a OsStr,
    pub all: bool,
    pub progress: Option<&'a Progress>,
}
impl Options for RemoteListOptions<'_> {
    type C = sys::lamina_remote_list_options;
    fn to_c<'k>(&'k self, keep: &mut Keep<'k>) -> Result<sys::lamina_remote_list_options, Error> {
        // All zeros are valid, and the default.
        let mut c: sys::lamina_remote_list_options = unsafe { std::mem::zeroed() };
        c.struct_size = std::mem::size_of::<sys::lamina_remote_list_options>();
        c.url = keep.text(self.url)?;
        c.all = u32::from(self.all);
        if let Some(progress) = self.progress { c.progress = progress.handle(); }
        Ok(c)
    }
}
/// `lamina_remote_listing`.
#[repr(transparent)]
pub struct RemoteListing(sys::lamina_remote_listing);
unsafe impl ReportView for RemoteListing { type C = sys::lamina_remote_listing; }
unsafe impl Send for RemoteListing {}
unsafe impl Sync for RemoteListing {}
impl RemoteListing {
    pub fn name(&self) -> Cow<'_, str> { unsafe { text_at(self.0.name) } }
    pub fn error(&self) -> Option<Error> { unsafe { error_at(self.0.error) } }
    pub fn number(&self) -> u64 { self.0.number }
    pub fn pause_id(&self) -> Uuid { Uuid(self.0.pause_id) }
    pub fn parent_pause_id(&self) -> Uuid { Uuid(self.0.parent_pause_id) }
    pub fn created(&self) -> Cow<'_, str> { unsafe { text_at(self.0.created) } }
    pub fn memory_bytes(&self) -> u64 { self.0.memory_bytes }
    pub fn stored_bytes(&self) -> u64 { self.0.stored_bytes }
    pub fn objects(&self) -> u32 { self.0.objects }
    pub fn encrypted(&self) -> bool { self.0.encrypted != 0 }
}
/// `lamina_remote_list_report`.
#[repr(transparent)]
pub struct RemoteListReport(sys::lamina_remote_list_report);
unsafe impl ReportView for RemoteListReport { type C = sys::lamina_remote_list_report; }
unsafe impl Send for RemoteListReport {}
unsafe impl Sync for RemoteListReport {}
impl RemoteListReport {
    pub fn snapshots(&self) -> impl ExactSizeIterator<Item = &RemoteListing> { unsafe { items(self.0.snapshots, self.0.snapshot_count) } }
    pub fn notes(&self) -> impl ExactSizeIterator<Item = Cow<'_, str>> { unsafe { texts(self.0.notes, self.0.note_count) } }
}
/// `lamina_remote_remove_options`. Empty, `None` and 0 are the defaults.
#[derive(Clone, Copy, Default)]
pub struct RemoteRemoveOptions<'a> {
    pub url: &'a OsStr,
    pub name: &'a OsStr,
    pub dry_run: bool,
    pub progress: Option<&'a Progress>,
}
impl Options for RemoteRemoveOptions<'_> {
    type C = sys::lamina_remote_remove_options;
    fn to_c<'k>(&'k self, keep: &mut Keep<'k>) -> Result<sys::lamina_remote_remove_options, Error> {
        // All zeros are valid, and the default.
        let mut c: sys::lamina_remote_remove_options = unsafe { std::mem::zeroed() };
        c.struct_size = std::mem::size_of::<sys::lamina_remote_remove_options>();
        c.url = keep.text(self.url)?;
        c.name = keep.text(self.name)?;
        c.dry_run = u32::from(self.dry_run);
        if let Some(progress) = self.progress { c.progress = progress.handle(); }
        Ok(c)
    }
}
/// `lamina_remote_remove_report`.
#[repr(transparent)]
pub struct RemoteRemoveReport(sys::lamina_remote_remove_report);
unsafe impl ReportView for RemoteRemoveReport { type C = sys::lamina_remote_remove_report; }
unsafe impl Send for RemoteRemoveReport {}
unsafe impl Sync for RemoteRemoveReport {}
impl RemoteRemoveReport {
    pub fn name(&self) -> Cow<'_, str> { unsafe { text_at(self.0.name) } }
    pub fn number(&self) -> u64 { self.0.number }
    pub fn records(&self) -> u64 { self.0.records }
    pub fn notes(&self) -> impl ExactSizeIterator<Item = Cow<'_, str>> { unsafe { texts(self.0.notes, self.0.note_count) } }
}
/// `lamina_prune_options`. Empty, `None` and 0 are the defaults.
#[derive(Clone, Copy, Default)]
pub struct PruneOptions<'a> {
    pub url: &'a OsStr,
    pub keep_last: u64,
    pub keep_daily: u64,
    pub keep_within_s: u64,
    pub pattern: &'a OsStr,
    pub dry_run: bool,
    pub progress: Option<&'a Progress>,
}
impl Options for PruneOptions<'_> {
    type C = sys::lamina_prune_options;
    fn to_c<'k>(&'k self, keep: &mut Keep<'k>) -> Result<sys::lamina_prune_options, Error> {
        // All zeros are valid, and the default.
        let mut c: sys::lamina_prune_options = unsafe { std::mem::zeroed() };
        c.struct_size = std::mem::size_of::<sys::lamina_prune_options>();
        c.url = keep.text(self.url)?;
        c.keep_last = self.keep_last;
        c.keep_daily = self.keep_daily;
        c.keep_within_s = self.keep_within_s;
        c.pattern = keep.text(self.pattern)?;
        c.dry_run = u32::from(self.dry_run);
        if let Some(progress) = self.progress { c.progress = progress.handle(); }
        Ok(c)
    }
}
/// `lamina_prune_report`.
#[repr(transparent)]
pub struct PruneReport(sys::lamina_prune_report);
unsafe impl ReportView for PruneReport { type C = sys::lamina_prune_report; }
unsafe impl Send for PruneReport {}
unsafe impl Sync for PruneReport {}
impl PruneReport {
    pub fn kept_snapshots(&self) -> u64 { self.0.kept_snapshots }
    pub fn removed_records(&self) -> u64 { self.0.removed_records }
    pub fn expired_pins(&self) -> u64 { self.0.expired_pins }
    pub fn removed_objects(&self) -> u64 { self.0.removed_objects }
    pub fn removed_bytes(&self) -> u64 { self.0.removed_bytes }
    pub fn kept_objects(&self) -> u64 { self.0.kept_objects }
    pub fn notes(&self) -> impl ExactSizeIterator<Item = Cow<'_, str>> { unsafe { texts(self.0.notes, self.0.note_count) } }
    pub fn aborted_uploads(&self) -> u64 { self.0.aborted_uploads }
}
/// `lamina_remote_key_list_options`. Empty, `None` and 0 are the defaults.
#[derive(Clone, Copy, Default)]
pub struct RemoteKeyListOptions<'a> {
    pub url: &'a OsStr,
    pub key_file: &'a OsStr,
    pub progress: Option<&'a Progress>,
}
impl Options for RemoteKeyListOptions<'_> {
    type C = sys::lamina_remote_key_list_options;
    fn to_c<'k>(&'k self, keep: &mut Keep<'k>) -> Result<sys::lamina_remote_key_list_options, Error> {
        // All zeros are valid, and the default.
        let mut c: sys::lamina_remote_key_list_options = unsafe { std::mem::zeroed() };
        c.struct_size = std::mem::size_of::<sys::lamina_remote_key_list_options>();
        c.url = keep.text(self.url)?;
        c.key_file = keep.text(self.key_file)?;
        if let Some(progress) = self.progress { c.progress = progress.handle(); }
        Ok(c)
    }
}
/// `lamina_keyed_state`.
#[repr(transparent)]
pub struct KeyedState(sys::lamina_keyed_state);
unsafe impl ReportView for KeyedState { type C = sys::lamina_keyed_state; }
unsafe impl Send for KeyedState {}
unsafe impl Sync for KeyedState {}
impl KeyedState {
    pub fn name(&self) -> Cow<'_, str> { unsafe { text_at(self.0.name) } }
    pub fn number(&self) -> u64 { self.0.number }
    pub fn stored_bytes(&self) -> u64 { self.0.stored_bytes }
    pub fn objects(&self) -> u32 { self.0.objects }
    pub fn is_newest(&self) -> bool { self.0.is_newest != 0 }
}
/// `lamina_remote_key`.
#[repr(transparent)]
pub struct RemoteKey(sys::lamina_remote_key);
unsafe impl ReportView for RemoteKey { type C = sys::lamina_remote_key; }
unsafe impl Send for RemoteKey {}
unsafe impl Sync for RemoteKey {}
impl RemoteKey {
    pub fn key_id(&self) -> Cow<'_, str> { unsafe { text_at(self.0.key_id) } }
    pub fn newest_states(&self) -> u64 { self.0.newest_states }
    pub fn objects(&self) -> u64 { self.0.objects }
    pub fn object_bytes(&self) -> u64 { self.0.object_bytes }
    pub fn states(&self) -> impl ExactSizeIterator<Item = &KeyedState> { unsafe { items(self.0.states, self.0.state_count) } }
    pub fn is_given(&self) -> bool { self.0.is_given != 0 }
}
/// `lamina_remote_key_list_report`.
#[repr(transparent)]
pub struct RemoteKeyListReport(sys::lamina_remote_key_list_report);
unsafe impl ReportView for RemoteKeyListReport { type C = sys::lamina_remote_key_list_report; }
unsafe impl Send for RemoteKeyListReport {}
unsafe impl Sync for RemoteKeyListReport {}
impl RemoteKeyListReport {
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &RemoteKey> { unsafe { items(self.0.keys, self.0.key_count) } }
    pub fn problems(&self) -> impl ExactSizeIterator<Item = Cow<'_, str>> { unsafe { texts(self.0.problems, self.0.problem_count) } }
}
/// `lamina_remote_key_rotate_options`. Empty, `None` and 0 are the defaults.
#[derive(Clone, Copy, Default)]
pub struct RemoteKeyRotateOptions<'a> {
    pub url: &'a OsStr,
    pub pattern: &'a OsStr,
    pub old_key_file: &'a OsStr,
    pub old_key_command: &'a OsStr,
    pub key_file: &'a OsStr,
    pub key_command: &'a OsStr,
    pub keep_older: bool,
    pub dry_run: bool,
    pub progress: Option<&'a Progress>,
}
impl Options for RemoteKeyRotateOptions<'_> {
    type C = sys::lamina_remote_key_rotate_options;
    fn to_c<'k>(&'k self, keep: &mut Keep<'k>) -> Result<sys::lamina_remote_key_rotate_options, Error> {
        // All zeros are valid, and the default.
        let mut c: sys::lamina_remote_key_rotate_options = unsafe { std::mem::zeroed() };
        c.struct_size = std::mem::size_of::<sys::lamina_remote_key_rotate_options>();
        c.url = keep.text(self.url)?;
        c.pattern = keep.text(self.pattern)?;
        c.old_key_file = keep.text(self.old_key_file)?;
        c.old_key_command = keep.text(self.old_key_command)?;
        c.key_file = keep.text(self.key_file)?;
        c.key_command = keep.text(self.key_command)?;
        c.keep_older = u32::from(self.keep_older);
        c.dry_run = u32::from(self.dry_run);
        if let Some(progress) = self.progress { c.progress = progress.handle(); }
        Ok(c)
    }
}
/// `lamina_remote_key_rotate_report`.
#[repr(transparent)]
pub struct RemoteKeyRotateReport(sys::lamina_remote_key_rotate_report);
unsafe impl ReportView for RemoteKeyRotateReport { type C = sys::lamina_remote_key_rotate_report; }
unsafe impl Send for RemoteKeyRotateReport {}
unsafe impl Sync for RemoteKeyRotateReport {}
impl RemoteKeyRotateReport {
    pub fn old_key_id(&self) -> Cow<'_, str> { unsafe { text_at(self.0.old_key_id) } }
    pub fn key_id(&self) -> Cow<'_, str> { unsafe { text_at(self.0.key_id) } }
    pub fn rotated_states(&self) -> u64 { self.0.rotated_states }
    pub fn rotated_bytes(&self) -> u64 { self.0.rotated_bytes }
    pub fn removed_states(&self) -> u64 { self.0.removed_states }
    pub fn kept_states(&self) -> u64 { self.0.kept_states }
    pub fn other_names(&self) -> u64 { self.0.other_names }
    pub fn is_complete(&self) -> bool { self.0.is_complete != 0 }
    pub fn problems(&self) -> impl ExactSizeIterator<Item = Cow<'_, str>> { unsafe { texts(self.0.problems, self.0.problem_count) } }
}
/// `lamina_remote_key_destroy_options`. Empty, `None` and 0 are the defaults.
#[derive(Clone, Copy, Default)]
pub struct RemoteKeyDestroyOptions<'a> {
    pub url: &'a OsStr,
    pub key_id: &'a OsStr,
    pub dry_run: bool,
    pub progress: Option<&'a Progress>,
}
impl Options for RemoteKeyDestroyOptions<'_> {
    type C = sys::lamina_remote_key_destroy_options;
    fn to_c<'k>(&'k self, keep: &mut Keep<'k>) -> Result<sys::lamina_remote_key_destroy_options, Error> {
        // All zeros are valid, and the default.
        let mut c: sys::lamina_remote_key_destroy_options = unsafe { std::mem::zeroed() };
        c.struct_size = std::mem::size_of::<sys::lamina_remote_key_destroy_options>();
        c.url = keep.text(self.url)?;
        c.key_id = keep.text(self.key_id)?;
        c.dry_run = u32::from(self.dry_run);
        if let Some(progress) = self.progress { c.progress = progress.handle(); }
        Ok(c)
    }
}
/// `lamina_remote_key_destroy_report`.
#[repr(transparent)]
pub struct RemoteKeyDestroyReport(sys::lamina_remote_key_destroy_report);
unsafe impl ReportView for RemoteKeyDestroyReport { type C = sys::lamina_remote_key_destroy_report; }
unsafe impl Send for RemoteKeyDestroyReport {}
unsafe impl Sync for RemoteKeyDestroyReport {}
impl RemoteKeyDestroyReport {
    pub fn key_id(&self) -> Cow<'_, str> { unsafe { text_at(self.0.key_id) } }
    pub fn lost_names(&self) -> impl ExactSizeIterator<Item = Cow<'_, str>> { unsafe { texts(self.0.lost_names, self.0.lost_name_count) } }
    pub fn removed_states(&self) -> u64 { self.0.removed_states }
    pub fn lost_objects(&self) -> u64 { self.0.lost_objects }
    pub fn lost_bytes(&self) -> u64 { self.0.lost_bytes }
    pub fn pins(&self) -> u64 { self.0.pins }
    pub fn notes(&self) -> impl ExactSizeIterator<Item = Cow<'_, str>> { unsafe { texts(self.0.notes, self.0.note_count) } }
}
