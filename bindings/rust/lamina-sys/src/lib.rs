// Written by bindings/rust/generate.py from include/lamina.h. Do not edit.

//! The C interface of lamina as it is. include/lamina.h describes it; the crate `lamina` is the safe one.
#![allow(non_camel_case_types)]

use std::os::raw::{c_char, c_int, c_void};

pub type lamina_code = i32;
pub type lamina_memory_file_kind = u32;
pub type lamina_layout = u32;
pub type lamina_zeros = u32;
pub type lamina_dedup = u32;
pub type lamina_header_format = u32;
pub type lamina_huge_pages = u32;
pub type lamina_compact_outcome = u32;
pub type lamina_reflink = u32;
pub type lamina_has_checksums = u32;
pub type lamina_pending_kind = u32;
pub type lamina_after_pause = u32;
pub type lamina_pause_place = u32;
pub type lamina_resume_mode = u32;
pub type lamina_populate = u32;
pub type lamina_page_server_state = u32;
pub type lamina_pack_codec = u32;
pub type lamina_bool = u32;
pub const LAMINA_UUID_TEXT_SIZE: usize = 37;
pub const LAMINA_HEADER_UNKNOWN: u32 = u32::MAX;
pub const LAMINA_NO_LAYER: u32 = u32::MAX;
pub const LAMINA_NO_FREEZE_MEMORY: u64 = u64::MAX;
pub const LAMINA_NO_WAIT_LIMIT: u64 = u64::MAX;
pub const LAMINA_OK: lamina_code = 0;
pub const LAMINA_FAILED: lamina_code = 1;
pub const LAMINA_USAGE: lamina_code = 2;
pub const LAMINA_NOT_FOUND: lamina_code = 3;
pub const LAMINA_EXISTS: lamina_code = 4;
pub const LAMINA_PERMISSION: lamina_code = 5;
pub const LAMINA_UNSUPPORTED: lamina_code = 6;
pub const LAMINA_CORRUPT: lamina_code = 7;
pub const LAMINA_BUSY: lamina_code = 8;
pub const LAMINA_NO_SPACE: lamina_code = 9;
pub const LAMINA_INTERRUPTED: lamina_code = 10;
pub const LAMINA_KIND_AUTO: lamina_memory_file_kind = 0;
pub const LAMINA_KIND_FULL: lamina_memory_file_kind = 1;
pub const LAMINA_KIND_DIFF: lamina_memory_file_kind = 2;
pub const LAMINA_LAYOUT_AUTO: lamina_layout = 0;
pub const LAMINA_LAYOUT_COMPACT: lamina_layout = 1;
pub const LAMINA_LAYOUT_ADOPTED: lamina_layout = 2;
pub const LAMINA_ZEROS_UNSPECIFIED: lamina_zeros = 0;
pub const LAMINA_ZEROS_WRITTEN: lamina_zeros = 1;
pub const LAMINA_ZEROS_INHERIT: lamina_zeros = 2;
pub const LAMINA_DEDUP_NONE: lamina_dedup = 0;
pub const LAMINA_DEDUP_PARENT: lamina_dedup = 1;
pub const LAMINA_HEADER_NATIVE: lamina_header_format = 0;
pub const LAMINA_HEADER_V1: lamina_header_format = 1;
pub const LAMINA_HEADER_V3: lamina_header_format = 2;
pub const LAMINA_HUGE_PAGES_AS_BEFORE: lamina_huge_pages = 0;
pub const LAMINA_HUGE_PAGES_NONE: lamina_huge_pages = 1;
pub const LAMINA_HUGE_PAGES_TRANSPARENT: lamina_huge_pages = 2;
pub const LAMINA_HUGE_PAGES_2M: lamina_huge_pages = 3;
pub const LAMINA_COMPACT_NOTHING: lamina_compact_outcome = 0;
pub const LAMINA_COMPACT_PLANNED: lamina_compact_outcome = 1;
pub const LAMINA_COMPACT_MERGED: lamina_compact_outcome = 2;
pub const LAMINA_COMPACT_DROPPED: lamina_compact_outcome = 3;
pub const LAMINA_REFLINK_AUTO: lamina_reflink = 0;
pub const LAMINA_REFLINK_ALWAYS: lamina_reflink = 1;
pub const LAMINA_REFLINK_NEVER: lamina_reflink = 2;
pub const LAMINA_CHECKSUMS_NO: lamina_has_checksums = 0;
pub const LAMINA_CHECKSUMS_YES: lamina_has_checksums = 1;
pub const LAMINA_CHECKSUMS_UNKNOWN: lamina_has_checksums = 2;
pub const LAMINA_PENDING_PAUSE: lamina_pending_kind = 0;
pub const LAMINA_PENDING_INGEST: lamina_pending_kind = 1;
pub const LAMINA_PENDING_OTHER: lamina_pending_kind = 2;
pub const LAMINA_AFTER_STOP: lamina_after_pause = 0;
pub const LAMINA_AFTER_RESUME: lamina_after_pause = 1;
pub const LAMINA_AFTER_STAY: lamina_after_pause = 2;
pub const LAMINA_PLACE_DISK: lamina_pause_place = 0;
pub const LAMINA_PLACE_MEMORY: lamina_pause_place = 1;
pub const LAMINA_RESUME_AUTO: lamina_resume_mode = 0;
pub const LAMINA_RESUME_PAGE_FAULTS: lamina_resume_mode = 1;
pub const LAMINA_RESUME_FILE: lamina_resume_mode = 2;
pub const LAMINA_POPULATE_DEFAULT: lamina_populate = 0;
pub const LAMINA_POPULATE_NONE: lamina_populate = 1;
pub const LAMINA_POPULATE_WORKING_SET: lamina_populate = 2;
pub const LAMINA_POPULATE_ALL: lamina_populate = 3;
pub const LAMINA_PAGE_SERVER_NONE: lamina_page_server_state = 0;
pub const LAMINA_PAGE_SERVER_SILENT: lamina_page_server_state = 1;
pub const LAMINA_PAGE_SERVER_BUSY: lamina_page_server_state = 2;
pub const LAMINA_PAGE_SERVER_SERVES: lamina_page_server_state = 3;
pub const LAMINA_PAGE_SERVER_CANNOT_SERVE: lamina_page_server_state = 4;
pub const LAMINA_CODEC_ZSTD: lamina_pack_codec = 0;
pub const LAMINA_CODEC_LZ4: lamina_pack_codec = 1;
pub const LAMINA_CODEC_NONE: lamina_pack_codec = 2;
#[repr(C)]
pub struct lamina_progress { _private: [u8; 0] }
#[repr(C)]
pub struct lamina_store { _private: [u8; 0] }
#[repr(C)]
pub struct lamina_reader { _private: [u8; 0] }
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_uuid {
    pub bytes: [u8; 16],
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_error {
    pub struct_size: usize,
    pub code: lamina_code,
    pub error_number: i32,
    pub message: *const c_char,
    pub remedy: *const c_char,
    pub notes: *const *const c_char,
    pub note_count: usize,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_lines {
    pub struct_size: usize,
    pub items: *const *const c_char,
    pub count: usize,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_text {
    pub struct_size: usize,
    pub text: *const c_char,
    pub length: usize,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_progress_state {
    pub struct_size: usize,
    pub phases: u64,
    pub done_bytes: u64,
    pub total_bytes: u64,
    pub is_cancelled: lamina_bool,
    pub reserved: u32,
    pub phase: [c_char; 48],
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_ingest_options {
    pub struct_size: usize,
    pub memory_file: *const c_char,
    pub memory_fd: i32,
    pub has_memory_fd: lamina_bool,
    pub memory: *const c_void,
    pub memory_bytes: usize,
    pub snapshot: *const c_char,
    pub parent: *const c_char,
    pub vmstate_file: *const c_char,
    pub build_id: *const lamina_uuid,
    pub kind: lamina_memory_file_kind,
    pub layout: lamina_layout,
    pub zeros: lamina_zeros,
    pub huge_pages: lamina_huge_pages,
    pub dedup: lamina_dedup,
    pub header: lamina_header_format,
    pub consume: lamina_bool,
    pub replace: lamina_bool,
    pub progress: *mut lamina_progress,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_ingest_report {
    pub struct_size: usize,
    pub snapshot: *const c_char,
    pub build_id: lamina_uuid,
    pub pause_id: lamina_uuid,
    pub kind: lamina_memory_file_kind,
    pub layout: lamina_layout,
    pub generation: u64,
    pub memory_bytes: u64,
    pub stored_blocks: u64,
    pub zero_blocks: u64,
    pub unchanged_blocks: u64,
    pub layer_bytes: u64,
    pub layer_allocated_bytes: u64,
    pub cloned_bytes: u64,
    pub notes: *const *const c_char,
    pub note_count: usize,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_merge_options {
    pub struct_size: usize,
    pub snapshot: *const c_char,
    pub out: *const c_char,
    pub only_build: *const lamina_uuid,
    pub layers: u32,
    pub reserved: u32,
    pub progress: *mut lamina_progress,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_merge_report {
    pub struct_size: usize,
    pub snapshot: *const c_char,
    pub build_id: lamina_uuid,
    pub pause_id: lamina_uuid,
    pub merged: lamina_bool,
    pub layers_before: u32,
    pub layers_after: u32,
    pub reserved: u32,
    pub generation: u64,
    pub merged_blocks: u64,
    pub dropped_blocks: u64,
    pub cloned_bytes: u64,
    pub copied_bytes: u64,
    pub freed_bytes: u64,
    pub duplicated_bytes: u64,
    pub notes: *const *const c_char,
    pub note_count: usize,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_compact_options {
    pub struct_size: usize,
    pub snapshot: *const c_char,
    pub policy: *const c_char,
    pub rate_limit_bytes_s: u64,
    pub dry_run: lamina_bool,
    pub background: lamina_bool,
    pub progress: *mut lamina_progress,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_compact_report {
    pub struct_size: usize,
    pub snapshot: *const c_char,
    pub policy: *const c_char,
    pub pause_id: lamina_uuid,
    pub outcome: lamina_compact_outcome,
    pub layers_before: u32,
    pub layers_after: u32,
    pub merged_layers: u32,
    pub read_bytes: u64,
    pub written_bytes: u64,
    pub cloned_bytes: u64,
    pub freed_bytes: u64,
    pub duplicated_bytes: u64,
    pub attempts: u32,
    pub next_pause_must_wait: lamina_bool,
    pub notes: *const *const c_char,
    pub note_count: usize,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_materialize_options {
    pub struct_size: usize,
    pub snapshot: *const c_char,
    pub out: *const c_char,
    pub reflink: lamina_reflink,
    pub reserved: u32,
    pub progress: *mut lamina_progress,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_materialize_report {
    pub struct_size: usize,
    pub memory_bytes: u64,
    pub data_bytes: u64,
    pub cloned_bytes: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_verify_options {
    pub struct_size: usize,
    pub snapshot: *const c_char,
    pub against: *const c_char,
    pub progress: *mut lamina_progress,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_verify_report {
    pub struct_size: usize,
    pub is_intact: lamina_bool,
    pub is_equal: lamina_bool,
    pub checked_blocks: u64,
    pub unchecked_blocks: u64,
    pub corrupt_blocks: u64,
    pub corrupt_live_blocks: u64,
    pub compared_blocks: u64,
    pub different_blocks: u64,
    pub vmstate_corrupt: lamina_bool,
    pub reserved: u32,
    pub problems: *const *const c_char,
    pub problem_count: usize,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_extent {
    pub offset_bytes: u64,
    pub length_bytes: u64,
    pub storage_offset_bytes: u64,
    pub layer: u32,
    pub reserved: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_layer {
    pub struct_size: usize,
    pub build_id: lamina_uuid,
    pub has_checksums: lamina_has_checksums,
    pub has_file: lamina_bool,
    pub live_blocks: u64,
    pub extents: u64,
    pub path: *const c_char,
    pub layout: *const c_char,
    pub dead_blocks: u64,
    pub size_bytes: u64,
    pub allocated_bytes: u64,
    pub link_count: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_pause_record {
    pub struct_size: usize,
    pub reason: *const c_char,
    pub is_diff: lamina_bool,
    pub has_phases: lamina_bool,
    pub prepare_ms: f64,
    pub pause_ms: f64,
    pub create_ms: f64,
    pub journal_ms: f64,
    pub hook_ms: f64,
    pub resume_ms: f64,
    pub frozen_ms: f64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_resume_coverage {
    pub struct_size: usize,
    pub time: *const c_char,
    pub used_blocks: u64,
    pub known_blocks: u64,
    pub was_replayed: lamina_bool,
    pub reserved: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_snapshot_info {
    pub struct_size: usize,
    pub path: *const c_char,
    pub build_id: lamina_uuid,
    pub base_build_id: lamina_uuid,
    pub pause_id: lamina_uuid,
    pub parent_pause_id: lamina_uuid,
    pub created: *const c_char,
    pub huge_pages: *const c_char,
    pub generation: u64,
    pub memory_bytes: u64,
    pub zero_blocks: u64,
    pub vmstate_bytes: u64,
    pub has_vmstate: lamina_bool,
    pub header: lamina_header_format,
    pub windows: u32,
    pub max_extents_per_window: u32,
    pub mean_extents_per_window: f64,
    pub layers: *const *const lamina_layer,
    pub layer_count: usize,
    pub extents: *const lamina_extent,
    pub extent_count: usize,
    pub pause: *const lamina_pause_record,
    pub working_set_blocks: u64,
    pub last_resumes: *const *const lamina_resume_coverage,
    pub last_resume_count: usize,
    pub once: lamina_bool,
    pub is_consumed: lamina_bool,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_list_options {
    pub struct_size: usize,
    pub path: *const c_char,
    pub dead_bytes: lamina_bool,
    pub reserved: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_file_use {
    pub device: u64,
    pub inode: u64,
    pub link_count: u64,
    pub links_here: u64,
    pub allocated_bytes: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_snapshot_listing {
    pub struct_size: usize,
    pub name: *const c_char,
    pub error: *const lamina_error,
    pub pause_id: lamina_uuid,
    pub parent_pause_id: lamina_uuid,
    pub parent: *const c_char,
    pub created: *const c_char,
    pub generation: u64,
    pub layers: u64,
    pub memory_bytes: u64,
    pub header: lamina_header_format,
    pub has_vmstate: lamina_bool,
    pub own_bytes: u64,
    pub shared_bytes: u64,
    pub dead_bytes: u64,
    pub has_dead_bytes: lamina_bool,
    pub reserved: u32,
    pub running: u64,
    pub resumes: u64,
    pub files: *const lamina_file_use,
    pub file_count: usize,
    pub ancestors: *const lamina_uuid,
    pub ancestor_count: usize,
    pub pause: *const lamina_pause_record,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_pin_listing {
    pub struct_size: usize,
    pub name: *const c_char,
    pub error: *const lamina_error,
    pub pid: i64,
    pub foreign: *const c_char,
    pub snapshot: *const c_char,
    pub base_pause_id: lamina_uuid,
    pub map: lamina_uuid,
    pub since: *const c_char,
    pub running: lamina_bool,
    pub by_page_faults: lamina_bool,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_pending_listing {
    pub struct_size: usize,
    pub id: lamina_uuid,
    pub allocated_bytes: u64,
    pub since: *const c_char,
    pub foreign: *const c_char,
    pub kind: lamina_pending_kind,
    pub reserved: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_map_listing {
    pub struct_size: usize,
    pub pause_id: lamina_uuid,
    pub allocated_bytes: u64,
    pub used: lamina_bool,
    pub reserved: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_listing {
    pub struct_size: usize,
    pub path: *const c_char,
    pub snapshots: *const *const lamina_snapshot_listing,
    pub snapshot_count: usize,
    pub pins: *const *const lamina_pin_listing,
    pub pin_count: usize,
    pub pending: *const *const lamina_pending_listing,
    pub pending_count: usize,
    pub maps: *const *const lamina_map_listing,
    pub map_count: usize,
    pub snapshot_bytes: u64,
    pub pin_bytes: u64,
    pub pending_bytes: u64,
    pub temporary_bytes: u64,
    pub map_bytes: u64,
    pub notes: *const *const c_char,
    pub note_count: usize,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_repair_report {
    pub struct_size: usize,
    pub header_rebuilt: lamina_bool,
    pub facts_rebuilt: lamina_bool,
    pub notes: *const *const c_char,
    pub note_count: usize,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_fork_options {
    pub struct_size: usize,
    pub snapshot: *const c_char,
    pub fork: *const c_char,
    pub progress: *mut lamina_progress,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_fork_report {
    pub struct_size: usize,
    pub fork: *const c_char,
    pub pause_id: lamina_uuid,
    pub generation: u64,
    pub linked_layers: u32,
    pub copied_layers: u32,
    pub linked_bytes: u64,
    pub copied_bytes: u64,
    pub notes: *const *const c_char,
    pub note_count: usize,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_remove_options {
    pub struct_size: usize,
    pub snapshots: *const *const c_char,
    pub snapshot_count: usize,
    pub dry_run: lamina_bool,
    pub reserved: u32,
    pub progress: *mut lamina_progress,
    pub pause_id: *const lamina_uuid,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_removed_snapshot {
    pub struct_size: usize,
    pub snapshot: *const c_char,
    pub error: *const lamina_error,
    pub pause_id: lamina_uuid,
    pub running_vms: u64,
    pub freed_bytes: u64,
    pub remaining_bytes: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_remove_report {
    pub struct_size: usize,
    pub snapshots: *const *const lamina_removed_snapshot,
    pub snapshot_count: usize,
    pub notes: *const *const c_char,
    pub note_count: usize,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_vmm {
    pub struct_size: usize,
    pub api_socket: *const c_char,
    pub jail: *const c_char,
    pub request_timeout_ms: u64,
    pub create_timeout_ms: u64,
    pub load_timeout_ms: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_pause_options {
    pub struct_size: usize,
    pub vmm: *const lamina_vmm,
    pub name: *const c_char,
    pub frozen_hook: *const c_char,
    pub hook_timeout_ms: u64,
    pub while_frozen: Option<unsafe extern "C" fn(context: *mut c_void) -> c_int>,
    pub context: *mut c_void,
    pub attachments: *const *const c_char,
    pub attachment_count: usize,
    pub pause_id: *const lamina_uuid,
    pub page_server_command: *const *const c_char,
    pub page_server_argument_count: usize,
    pub after: lamina_after_pause,
    pub full: lamina_bool,
    pub replace: lamina_bool,
    pub reserved: u32,
    pub freeze_memory_bytes: u64,
    pub freeze_directory: *const c_char,
    pub progress: *mut lamina_progress,
    pub once: lamina_bool,
    pub reserved2: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_pause_report {
    pub struct_size: usize,
    pub snapshot: *const c_char,
    pub pause_id: lamina_uuid,
    pub parent_pause_id: lamina_uuid,
    pub reason: *const c_char,
    pub generation: u64,
    pub memory_bytes: u64,
    pub stored_bytes: u64,
    pub unchanged_bytes: u64,
    pub is_diff: lamina_bool,
    pub place: lamina_pause_place,
    pub place_reason: *const c_char,
    pub prepare_ms: f64,
    pub pause_ms: f64,
    pub create_ms: f64,
    pub journal_ms: f64,
    pub hook_ms: f64,
    pub resume_ms: f64,
    pub frozen_ms: f64,
    pub complete_ms: f64,
    pub publish_ms: f64,
    pub durable_ms: f64,
    pub notes: *const *const c_char,
    pub note_count: usize,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_network_override {
    pub interface_id: *const c_char,
    pub host_device: *const c_char,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_drive_override {
    pub drive_id: *const c_char,
    pub path: *const c_char,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_resume_options {
    pub struct_size: usize,
    pub vmm: *const lamina_vmm,
    pub name: *const c_char,
    pub network_overrides: *const lamina_network_override,
    pub network_override_count: usize,
    pub vsock_override: *const c_char,
    pub page_server_command: *const *const c_char,
    pub page_server_argument_count: usize,
    pub mode: lamina_resume_mode,
    pub populate: lamina_populate,
    pub huge_pages: lamina_huge_pages,
    pub record: lamina_bool,
    pub clock_realtime: lamina_bool,
    pub stay_paused: lamina_bool,
    pub progress: *mut lamina_progress,
    pub mmds: *const c_char,
    pub no_record: lamina_bool,
    pub again: lamina_bool,
    pub drive_overrides: *const lamina_drive_override,
    pub drive_override_count: usize,
    pub serial_override: *const c_char,
    pub console_override: *const c_char,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_resume_report {
    pub struct_size: usize,
    pub snapshot: *const c_char,
    pub pause_id: lamina_uuid,
    pub pid: i32,
    pub mode: lamina_resume_mode,
    pub reason: *const c_char,
    pub pin_ms: f64,
    pub prepare_ms: f64,
    pub load_ms: f64,
    pub resume_ms: f64,
    pub started_page_server: lamina_bool,
    pub reserved: u32,
    pub notes: *const *const c_char,
    pub note_count: usize,
    pub resume_id: lamina_uuid,
    pub clone_number: u64,
    pub generation_device: *const c_char,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_clone_devices {
    pub struct_size: usize,
    pub network_overrides: *const lamina_network_override,
    pub network_override_count: usize,
    pub vsock_override: *const c_char,
    pub drive_overrides: *const lamina_drive_override,
    pub drive_override_count: usize,
    pub serial_override: *const c_char,
    pub console_override: *const c_char,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_live_fork_options {
    pub struct_size: usize,
    pub pause: *const lamina_pause_options,
    pub resume: *const lamina_resume_options,
    pub clones: *const *const lamina_vmm,
    pub clone_count: usize,
    pub devices: *const *const lamina_clone_devices,
    pub device_count: usize,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_live_clone {
    pub struct_size: usize,
    pub api_socket: *const c_char,
    pub error: *const lamina_error,
    pub resumed: *const lamina_resume_report,
    pub ready_ms: f64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_live_fork_report {
    pub struct_size: usize,
    pub pause: *const lamina_pause_report,
    pub clones: *const *const lamina_live_clone,
    pub clone_count: usize,
    pub readable_ms: f64,
    pub clones_ms: f64,
    pub durable_ms: f64,
    pub notes: *const *const c_char,
    pub note_count: usize,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_recover_options {
    pub struct_size: usize,
    pub request_timeout_ms: u64,
    pub create_timeout_ms: u64,
    pub load_timeout_ms: u64,
    pub page_server_command: *const *const c_char,
    pub page_server_argument_count: usize,
    pub give_up: *const lamina_uuid,
    pub give_up_count: usize,
    pub dry_run: lamina_bool,
    pub adopt_store: lamina_bool,
    pub progress: *mut lamina_progress,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_arrival {
    pub struct_size: usize,
    pub id: lamina_uuid,
    pub name: *const c_char,
    pub bucket: *const c_char,
    pub bytes: u64,
    pub frames: u64,
    pub frames_here: u64,
    pub vms: u64,
    pub has_fetcher: lamina_bool,
    pub is_being_resumed: lamina_bool,
    pub is_lost: lamina_bool,
    pub is_removed: lamina_bool,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_recover_report {
    pub struct_size: usize,
    pub completed: u64,
    pub discarded: u64,
    pub queued: u64,
    pub released_pins: u64,
    pub removed_maps: u64,
    pub resumed_vms: u64,
    pub foreign: u64,
    pub adopted: u64,
    pub notes: *const *const c_char,
    pub note_count: usize,
    pub arrivals: *const *const lamina_arrival,
    pub arrival_count: usize,
    pub removed_arrivals: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_pack_options {
    pub struct_size: usize,
    pub snapshot: *const c_char,
    pub out: *const c_char,
    pub key_file: *const c_char,
    pub key_command: *const c_char,
    pub codec: lamina_pack_codec,
    pub frame_blocks: u32,
    pub progress: *mut lamina_progress,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_pack_report {
    pub struct_size: usize,
    pub pause_id: lamina_uuid,
    pub memory_bytes: u64,
    pub data_bytes: u64,
    pub packed_bytes: u64,
    pub layers: u32,
    pub files: u32,
    pub is_encrypted: lamina_bool,
    pub reserved: u32,
    pub notes: *const *const c_char,
    pub note_count: usize,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_unpack_options {
    pub struct_size: usize,
    pub file: *const c_char,
    pub snapshot: *const c_char,
    pub key_file: *const c_char,
    pub key_command: *const c_char,
    pub progress: *mut lamina_progress,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_unpack_report {
    pub struct_size: usize,
    pub snapshot: *const c_char,
    pub pause_id: lamina_uuid,
    pub generation: u64,
    pub memory_bytes: u64,
    pub data_bytes: u64,
    pub packed_bytes: u64,
    pub layers: u32,
    pub files: u32,
    pub notes: *const *const c_char,
    pub note_count: usize,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_push_options {
    pub struct_size: usize,
    pub url: *const c_char,
    pub snapshot: *const c_char,
    pub name: *const c_char,
    pub key_file: *const c_char,
    pub key_command: *const c_char,
    pub codec: lamina_pack_codec,
    pub replace: lamina_bool,
    pub rate_limit_bytes_s: u64,
    pub background: lamina_bool,
    pub reserved: u32,
    pub progress: *mut lamina_progress,
    pub dry_run: lamina_bool,
    pub reserved2: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_push_report {
    pub struct_size: usize,
    pub snapshot: *const c_char,
    pub name: *const c_char,
    pub number: u64,
    pub pause_id: lamina_uuid,
    pub is_conflict: lamina_bool,
    pub is_already_there: lamina_bool,
    pub uploaded_objects: u32,
    pub reused_objects: u32,
    pub data_bytes: u64,
    pub uploaded_bytes: u64,
    pub reused_bytes: u64,
    pub notes: *const *const c_char,
    pub note_count: usize,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_pull_options {
    pub struct_size: usize,
    pub url: *const c_char,
    pub name: *const c_char,
    pub r#as: *const c_char,
    pub key_file: *const c_char,
    pub key_command: *const c_char,
    pub progress: *mut lamina_progress,
    pub cache_bytes: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_pull_report {
    pub struct_size: usize,
    pub snapshot: *const c_char,
    pub name: *const c_char,
    pub number: u64,
    pub pause_id: lamina_uuid,
    pub generation: u64,
    pub memory_bytes: u64,
    pub linked_layers: u32,
    pub fetched_layers: u32,
    pub data_bytes: u64,
    pub fetched_bytes: u64,
    pub notes: *const *const c_char,
    pub note_count: usize,
    pub cache_bytes: u64,
    pub evicted: *const *const c_char,
    pub evicted_count: usize,
    pub evicted_bytes: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_begin_pull_options {
    pub struct_size: usize,
    pub url: *const c_char,
    pub name: *const c_char,
    pub r#as: *const c_char,
    pub key_file: *const c_char,
    pub key_command: *const c_char,
    pub fetch_command: *const *const c_char,
    pub fetch_argument_count: usize,
    pub wait_limit_s: u64,
    pub progress: *mut lamina_progress,
    pub cache_bytes: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_begin_pull_report {
    pub struct_size: usize,
    pub pull: *const lamina_pull_report,
    pub is_arriving: lamina_bool,
    pub is_already_there: lamina_bool,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_fetch_options {
    pub struct_size: usize,
    pub arrival: *const lamina_uuid,
    pub progress: *mut lamina_progress,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_fetch_report {
    pub struct_size: usize,
    pub snapshot: *const c_char,
    pub name: *const c_char,
    pub fetched_bytes: u64,
    pub notes: *const *const c_char,
    pub note_count: usize,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_remote_list_options {
    pub struct_size: usize,
    pub url: *const c_char,
    pub all: lamina_bool,
    pub reserved: u32,
    pub progress: *mut lamina_progress,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_remote_listing {
    pub struct_size: usize,
    pub name: *const c_char,
    pub error: *const lamina_error,
    pub number: u64,
    pub pause_id: lamina_uuid,
    pub parent_pause_id: lamina_uuid,
    pub created: *const c_char,
    pub memory_bytes: u64,
    pub stored_bytes: u64,
    pub objects: u32,
    pub encrypted: lamina_bool,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_remote_list_report {
    pub struct_size: usize,
    pub snapshots: *const *const lamina_remote_listing,
    pub snapshot_count: usize,
    pub notes: *const *const c_char,
    pub note_count: usize,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_remote_remove_options {
    pub struct_size: usize,
    pub url: *const c_char,
    pub name: *const c_char,
    pub dry_run: lamina_bool,
    pub reserved: u32,
    pub progress: *mut lamina_progress,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_remote_remove_report {
    pub struct_size: usize,
    pub name: *const c_char,
    pub number: u64,
    pub records: u64,
    pub notes: *const *const c_char,
    pub note_count: usize,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_prune_options {
    pub struct_size: usize,
    pub url: *const c_char,
    pub keep_last: u64,
    pub keep_daily: u64,
    pub keep_within_s: u64,
    pub pattern: *const c_char,
    pub dry_run: lamina_bool,
    pub reserved: u32,
    pub progress: *mut lamina_progress,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_prune_report {
    pub struct_size: usize,
    pub kept_snapshots: u64,
    pub removed_records: u64,
    pub expired_pins: u64,
    pub removed_objects: u64,
    pub removed_bytes: u64,
    pub kept_objects: u64,
    pub notes: *const *const c_char,
    pub note_count: usize,
    pub aborted_uploads: u64,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_remote_key_list_options {
    pub struct_size: usize,
    pub url: *const c_char,
    pub key_file: *const c_char,
    pub progress: *mut lamina_progress,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_keyed_state {
    pub struct_size: usize,
    pub name: *const c_char,
    pub number: u64,
    pub stored_bytes: u64,
    pub objects: u32,
    pub is_newest: lamina_bool,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_remote_key {
    pub struct_size: usize,
    pub key_id: *const c_char,
    pub newest_states: u64,
    pub objects: u64,
    pub object_bytes: u64,
    pub states: *const *const lamina_keyed_state,
    pub state_count: usize,
    pub is_given: lamina_bool,
    pub reserved: u32,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_remote_key_list_report {
    pub struct_size: usize,
    pub keys: *const *const lamina_remote_key,
    pub key_count: usize,
    pub problems: *const *const c_char,
    pub problem_count: usize,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_remote_key_rotate_options {
    pub struct_size: usize,
    pub url: *const c_char,
    pub pattern: *const c_char,
    pub old_key_file: *const c_char,
    pub old_key_command: *const c_char,
    pub key_file: *const c_char,
    pub key_command: *const c_char,
    pub keep_older: lamina_bool,
    pub dry_run: lamina_bool,
    pub progress: *mut lamina_progress,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_remote_key_rotate_report {
    pub struct_size: usize,
    pub old_key_id: *const c_char,
    pub key_id: *const c_char,
    pub rotated_states: u64,
    pub rotated_bytes: u64,
    pub removed_states: u64,
    pub kept_states: u64,
    pub other_names: u64,
    pub is_complete: lamina_bool,
    pub reserved: u32,
    pub problems: *const *const c_char,
    pub problem_count: usize,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_remote_key_destroy_options {
    pub struct_size: usize,
    pub url: *const c_char,
    pub key_id: *const c_char,
    pub dry_run: lamina_bool,
    pub reserved: u32,
    pub progress: *mut lamina_progress,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lamina_remote_key_destroy_report {
    pub struct_size: usize,
    pub key_id: *const c_char,
    pub lost_names: *const *const c_char,
    pub lost_name_count: usize,
    pub removed_states: u64,
    pub lost_objects: u64,
    pub lost_bytes: u64,
    pub pins: u64,
    pub notes: *const *const c_char,
    pub note_count: usize,
}
extern "C" {
    pub fn lamina_code_name(code: lamina_code) -> *const c_char;
    pub fn lamina_free(result: *const c_void);
    pub fn lamina_version() -> *const c_char;
    pub fn lamina_version_commit() -> *const c_char;
    pub fn lamina_uuid_random(id: *mut lamina_uuid, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_uuid_parse(text: *const c_char, id: *mut lamina_uuid, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_uuid_format(id: *const lamina_uuid, text: *mut c_char, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_progress_open(progress: *mut *mut lamina_progress, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_progress_cancel(progress: *mut lamina_progress, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_progress_get(progress: *mut lamina_progress, state: *mut lamina_progress_state, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_progress_close(progress: *mut lamina_progress) -> lamina_code;
    pub fn lamina_store_open(path: *const c_char, store: *mut *mut lamina_store, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_store_notes(store: *mut lamina_store, notes: *mut *const lamina_lines, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_store_close(store: *mut lamina_store) -> lamina_code;
    pub fn lamina_ingest(store: *mut lamina_store, options: *const lamina_ingest_options, report: *mut *const lamina_ingest_report, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_merge(store: *mut lamina_store, options: *const lamina_merge_options, report: *mut *const lamina_merge_report, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_compact(store: *mut lamina_store, options: *const lamina_compact_options, report: *mut *const lamina_compact_report, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_hard_layer_limit(policy: *const c_char, layers: *mut u32, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_materialize(store: *mut lamina_store, options: *const lamina_materialize_options, report: *mut *const lamina_materialize_report, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_verify(store: *mut lamina_store, options: *const lamina_verify_options, report: *mut *const lamina_verify_report, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_inspect(store: *mut lamina_store, snapshot: *const c_char, info: *mut *const lamina_snapshot_info, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_reader_open(store: *mut lamina_store, snapshot: *const c_char, reader: *mut *mut lamina_reader, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_reader_read(reader: *mut lamina_reader, offset_bytes: u64, buffer: *mut c_void, length: usize, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_reader_memory_bytes(reader: *mut lamina_reader, memory_bytes: *mut u64, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_reader_info(reader: *mut lamina_reader, info: *mut *const lamina_snapshot_info, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_reader_close(reader: *mut lamina_reader) -> lamina_code;
    pub fn lamina_list(store: *mut lamina_store, options: *const lamina_list_options, listing: *mut *const lamina_listing, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_freed_by_removing(listing: *const lamina_listing, indices: *const usize, index_count: usize, freed_bytes: *mut u64, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_repair(store: *mut lamina_store, snapshot: *const c_char, report: *mut *const lamina_repair_report, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_fork(store: *mut lamina_store, options: *const lamina_fork_options, report: *mut *const lamina_fork_report, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_remove(store: *mut lamina_store, options: *const lamina_remove_options, report: *mut *const lamina_remove_report, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_pause(store: *mut lamina_store, options: *const lamina_pause_options, report: *mut *const lamina_pause_report, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_resume(store: *mut lamina_store, options: *const lamina_resume_options, report: *mut *const lamina_resume_report, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_live_fork(store: *mut lamina_store, options: *const lamina_live_fork_options, report: *mut *const lamina_live_fork_report, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_recover(store: *mut lamina_store, options: *const lamina_recover_options, report: *mut *const lamina_recover_report, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_find_page_server(store: *mut lamina_store, state: *mut lamina_page_server_state, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_page_server_metrics(store: *mut lamina_store, metrics: *mut *const lamina_text, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_pack(store: *mut lamina_store, options: *const lamina_pack_options, report: *mut *const lamina_pack_report, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_unpack(store: *mut lamina_store, options: *const lamina_unpack_options, report: *mut *const lamina_unpack_report, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_push(store: *mut lamina_store, options: *const lamina_push_options, report: *mut *const lamina_push_report, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_pull(store: *mut lamina_store, options: *const lamina_pull_options, report: *mut *const lamina_pull_report, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_begin_pull(store: *mut lamina_store, options: *const lamina_begin_pull_options, report: *mut *const lamina_begin_pull_report, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_fetch_arriving(store: *mut lamina_store, options: *const lamina_fetch_options, report: *mut *const lamina_fetch_report, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_remote_list(options: *const lamina_remote_list_options, report: *mut *const lamina_remote_list_report, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_remote_remove(options: *const lamina_remote_remove_options, report: *mut *const lamina_remote_remove_report, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_prune(options: *const lamina_prune_options, report: *mut *const lamina_prune_report, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_remote_key_list(options: *const lamina_remote_key_list_options, report: *mut *const lamina_remote_key_list_report, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_remote_key_rotate(options: *const lamina_remote_key_rotate_options, report: *mut *const lamina_remote_key_rotate_report, error: *mut *const lamina_error) -> lamina_code;
    pub fn lamina_remote_key_destroy(options: *const lamina_remote_key_destroy_options, report: *mut *const lamina_remote_key_destroy_report, error: *mut *const lamina_error) -> lamina_code;
}
