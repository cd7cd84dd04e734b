/* lamina in C, and in any language that can call C. The same library as the C++ headers in
 * lamina/, which have the full description of each operation: what a failure leaves behind, and
 * which kinds of errors a program can rely on. docs/embedding.md is the introduction.
 *
 *   lamina_store* store = NULL;
 *   const lamina_error* error = NULL;
 *   if (lamina_store_open("/var/lib/sandboxes", &store, &error) != LAMINA_OK) {
 *     fprintf(stderr, "%s\n", error->message);
 *     lamina_free(error);
 *   }
 *   lamina_ingest_options options = {.struct_size = sizeof options};
 *   options.memory_file = "/run/vm/mem";
 *   options.snapshot = "web-1";
 *   const lamina_ingest_report* report = NULL;
 *   if (lamina_ingest(store, &options, &report, &error) == LAMINA_OK) lamina_free(report);
 *   lamina_store_close(store);
 *
 * Functions. Each function that can fail returns a lamina_code. If that is not LAMINA_OK and
 * `error` is not null, *error is an error that the caller frees with lamina_free(). Else *error is
 * null. A function that makes something sets its result to null first. A result that the caller
 * does not want may be null; a handle that is to be opened may not.
 *
 * Structs. Each begins with its size. Set `struct_size` of options to sizeof the struct, everything
 * else to 0, and then what differs from the default: 0 and null are the default of every field.
 * Options as null are options with all defaults. A program that was compiled with an older header
 * passes smaller structs to a newer library, which takes the missing fields as 0. One that was
 * compiled with a newer header may pass larger structs: they are refused (LAMINA_UNSUPPORTED) only
 * if a field that the library does not know is not 0. Reports have the size of the library's
 * struct: a field is there if it ends within `struct_size`. New fields are added at the end.
 * lamina_uuid and lamina_extent have no size and never change.
 *
 * Memory. What options point to must stay valid until the function has returned. A report or an
 * error belongs to the caller until lamina_free(), with everything that it points to; it is never
 * changed. Strings end with a zero byte. File names are bytes, in no certain encoding.
 *
 * Handles. lamina_store, lamina_reader and lamina_progress are numbers in the form of pointers:
 * they are never dereferenced, and none is used twice. So a handle that is null, closed or of
 * another kind is an error (LAMINA_USAGE), and does no harm. A handle may be closed while another
 * thread uses it: what it stands for is released when that use ends.
 *
 * Threads. Every function is thread-safe. Any number of threads may use one handle. A report may be
 * read by many threads, and freed by one. The library calls no function of the program, except
 * lamina_pause_options.while_frozen, from the thread that called lamina_pause().
 *
 * What the library does to its process (descriptors, signals, child processes, fork) is described
 * in lamina/store.h. No C++ exception leaves a function. If memory runs out, the function fails
 * with LAMINA_FAILED; if that happens when the report is made, the operation was done all the same.
 *
 * Versions. The symbols have the version LAMINA_C_1; functions that were added later have
 * LAMINA_C_2 or LAMINA_C_3, which their comments say.
 * What is here is not removed or changed. Later versions may add values to the enumerations: treat
 * a lamina_code that you do not know as LAMINA_FAILED.
 */
#ifndef LAMINA_H
#define LAMINA_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Values --------------------------------------------------------------------------------- */

/* 0 or 1; another value in options is LAMINA_USAGE. */
typedef uint32_t lamina_bool;

/* The kind of a failure: what a program decides by. LAMINA_BUSY passes by itself: try again after
 * some milliseconds. lamina/result.h says more. */
typedef int32_t lamina_code;
enum {
  LAMINA_OK = 0,
  LAMINA_FAILED = 1,      /* anything that no other code describes */
  LAMINA_USAGE = 2,       /* the arguments make no sense */
  LAMINA_NOT_FOUND = 3,   /* a named file, directory, socket or layer does not exist */
  LAMINA_EXISTS = 4,      /* the name is taken and may not be replaced */
  LAMINA_PERMISSION = 5,  /* this process may not do it */
  LAMINA_UNSUPPORTED = 6, /* this library, file system, kernel or VMM cannot do it */
  LAMINA_CORRUPT = 7,     /* stored bytes are not what was stored */
  LAMINA_BUSY = 8,        /* another thread or process works on it at the moment */
  LAMINA_NO_SPACE = 9,    /* the file system is full or a quota is used up */
  LAMINA_INTERRUPTED = 10 /* lamina_progress_cancel() */
};

/* The word for a code: "ok", "not_found"; "unknown" for another number. A constant. */
const char* lamina_code_name(lamina_code code);

/* 16 bytes in network order. All zeros (nil): none. */
typedef struct lamina_uuid {
  uint8_t bytes[16];
} lamina_uuid;

#define LAMINA_UUID_TEXT_SIZE 37 /* 36 characters and the zero byte */

typedef struct lamina_error {
  size_t struct_size;
  lamina_code code;
  int32_t error_number; /* errno of the system call that failed; 0 if none did */
  /* For a person; one line, lower case: what failed, on which object, with which value. It can have
   * control characters: escape them before it goes to a terminal or a log. */
  const char* message;
  /* What the caller can do about it, "" if nothing is known. It names options in backquotes, as the
   * C++ headers do; the fields here have the same names. */
  const char* remedy;
  const char* const* notes; /* what was done before the failure, one line each */
  size_t note_count;
} lamina_error;

/* Frees a report or an error, with everything that it points to. Does nothing for null and for an
 * address that is neither (any more). */
void lamina_free(const void* result);

/* The version of the library: "0.2.0". A constant. */
const char* lamina_version(void);
/* The git commit that was built, 12 digits, perhaps with "-dirty"; "" if unknown. A constant. */
const char* lamina_version_commit(void);

/* Sets *id to a fresh random UUID. */
lamina_code lamina_uuid_random(lamina_uuid* id, const lamina_error** error);
/* Reads the form with 36 characters. LAMINA_USAGE for anything else; *id is then nil. */
lamina_code lamina_uuid_parse(const char* text, lamina_uuid* id, const lamina_error** error);
/* Writes the form with 36 characters, lower case, and a zero byte. */
lamina_code lamina_uuid_format(const lamina_uuid* id, char text[LAMINA_UUID_TEXT_SIZE],
                               const lamina_error** error);

/* Lines of text. */
typedef struct lamina_lines {
  size_t struct_size;
  const char* const* items;
  size_t count;
} lamina_lines;

/* A text; `length` is without the zero byte. */
typedef struct lamina_text {
  size_t struct_size;
  const char* text;
  size_t length;
} lamina_text;

/* ---- Progress and cancellation -------------------------------------------------------------- */

/* Watches and cancels a long operation from other threads. Open one for each operation, pass it in
 * the operation's options, and poll it with lamina_progress_get(). */
typedef struct lamina_progress lamina_progress;

typedef struct lamina_progress_state {
  size_t struct_size;
  uint64_t phases;      /* begun so far; 0: the operation has not reported anything yet */
  uint64_t done_bytes;  /* of the current phase */
  uint64_t total_bytes; /* of the current phase */
  lamina_bool is_cancelled;
  uint32_t reserved;
  char phase[48]; /* a word or two for a person; cut if it is longer */
} lamina_progress_state;

lamina_code lamina_progress_open(lamina_progress** progress, const lamina_error** error);
/* The operation fails with LAMINA_INTERRUPTED at its next step (lamina/progress.h), also if it
 * starts later. Cannot be taken back. Must not be called in a signal handler. */
lamina_code lamina_progress_cancel(lamina_progress* progress, const lamina_error** error);
/* Fills as much of *state as its struct_size says, which must be set. */
lamina_code lamina_progress_get(lamina_progress* progress, lamina_progress_state* state,
                                const lamina_error** error);
/* Null: nothing is done. An operation that uses it goes on. */
lamina_code lamina_progress_close(lamina_progress* progress);

/* ---- Store ---------------------------------------------------------------------------------- */

/* A store, opened for writing. In options, a snapshot without a slash is a name in the store; with
 * a slash it is a path. */
typedef struct lamina_store lamina_store;

/* Opens the directory `path`, and makes it a store if it is not one yet (Store::open() in
 * lamina/store.h has the errors). */
lamina_code lamina_store_open(const char* path, lamina_store** store, const lamina_error** error);
/* What opening it cleaned up. */
lamina_code lamina_store_notes(lamina_store* store, const lamina_lines** notes,
                               const lamina_error** error);
/* Null: nothing is done. */
lamina_code lamina_store_close(lamina_store* store);

/* ---- Ingest --------------------------------------------------------------------------------- */

typedef uint32_t lamina_memory_file_kind;
enum {
  LAMINA_KIND_AUTO = 0, /* a diff if there is a parent, else full */
  LAMINA_KIND_FULL = 1,
  LAMINA_KIND_DIFF = 2
};

typedef uint32_t lamina_layout;
enum { LAMINA_LAYOUT_AUTO = 0, LAMINA_LAYOUT_COMPACT = 1, LAMINA_LAYOUT_ADOPTED = 2 };

/* What a written block of zeros in a diff means. */
typedef uint32_t lamina_zeros;
enum { LAMINA_ZEROS_UNSPECIFIED = 0, LAMINA_ZEROS_WRITTEN = 1, LAMINA_ZEROS_INHERIT = 2 };

typedef uint32_t lamina_dedup;
enum { LAMINA_DEDUP_NONE = 0, LAMINA_DEDUP_PARENT = 1 };

typedef uint32_t lamina_header_format;
enum { LAMINA_HEADER_NATIVE = 0, LAMINA_HEADER_V1 = 1, LAMINA_HEADER_V3 = 2 };
/* In reports. */
#define LAMINA_HEADER_UNKNOWN UINT32_MAX

typedef uint32_t lamina_huge_pages;
enum {
  LAMINA_HUGE_PAGES_AS_BEFORE = 0,
  LAMINA_HUGE_PAGES_NONE = 1,
  LAMINA_HUGE_PAGES_TRANSPARENT = 2,
  LAMINA_HUGE_PAGES_2M = 3
};

/* Exactly one of `memory_file`, `memory_fd` and `memory` gives the memory. */
typedef struct lamina_ingest_options {
  size_t struct_size;
  const char* memory_file; /* path */
  /* With `has_memory_fd`: a regular file or memfd, open for reading, which stays the caller's. */
  int32_t memory_fd;
  lamina_bool has_memory_fd;
  const void* memory; /* all memory of a guest */
  size_t memory_bytes;
  const char* snapshot; /* of the new snapshot; required */
  const char* parent;   /* the snapshot that a diff counts from */
  const char* vmstate_file;
  const lamina_uuid* build_id; /* of the new layer; default: random */
  lamina_memory_file_kind kind;
  lamina_layout layout;
  lamina_zeros zeros;
  lamina_huge_pages huge_pages;
  lamina_dedup dedup;
  lamina_header_format header;
  lamina_bool consume; /* the memory file is not needed any more */
  lamina_bool replace; /* replaces a snapshot of that name */
  lamina_progress* progress;
} lamina_ingest_options;

typedef struct lamina_ingest_report {
  size_t struct_size;
  const char* snapshot; /* path */
  lamina_uuid build_id;
  lamina_uuid pause_id;
  lamina_memory_file_kind kind;
  lamina_layout layout;
  uint64_t generation;
  uint64_t memory_bytes;
  uint64_t stored_blocks; /* a block has 4096 bytes */
  uint64_t zero_blocks;
  uint64_t unchanged_blocks;
  uint64_t layer_bytes;
  uint64_t layer_allocated_bytes;
  uint64_t cloned_bytes;
  const char* const* notes;
  size_t note_count;
} lamina_ingest_report;

/* Stores a memory file as a new snapshot (lamina/ingest.h). */
lamina_code lamina_ingest(lamina_store* store, const lamina_ingest_options* options,
                          const lamina_ingest_report** report, const lamina_error** error);

/* ---- Merge and compact ---------------------------------------------------------------------- */

typedef struct lamina_merge_options {
  size_t struct_size;
  const char* snapshot;          /* required */
  const char* out;               /* a new snapshot; default: replaces `snapshot` */
  const lamina_uuid* only_build; /* merges only while this is the youngest layer */
  uint32_t layers;               /* how many of the youngest; 0: all */
  uint32_t reserved;             /* must be 0 */
  lamina_progress* progress;
} lamina_merge_options;

typedef struct lamina_merge_report {
  size_t struct_size;
  const char* snapshot; /* path of the result */
  lamina_uuid build_id;
  lamina_uuid pause_id;
  lamina_bool merged; /* 0: there was nothing to merge */
  uint32_t layers_before;
  uint32_t layers_after;
  uint32_t reserved;
  uint64_t generation;
  uint64_t merged_blocks;
  uint64_t dropped_blocks;
  uint64_t cloned_bytes;
  uint64_t copied_bytes;
  uint64_t freed_bytes;
  uint64_t duplicated_bytes;
  const char* const* notes;
  size_t note_count;
} lamina_merge_report;

/* Merges layers into one (lamina/merge.h). */
lamina_code lamina_merge(lamina_store* store, const lamina_merge_options* options,
                         const lamina_merge_report** report, const lamina_error** error);

typedef struct lamina_compact_options {
  size_t struct_size;
  const char* snapshot;        /* required */
  const char* policy;          /* default: "tiered" */
  uint64_t rate_limit_bytes_s; /* 0: no limit */
  lamina_bool dry_run;
  lamina_bool background; /* with idle priority; the call still returns only at the end */
  lamina_progress* progress;
} lamina_compact_options;

typedef uint32_t lamina_compact_outcome;
enum {
  LAMINA_COMPACT_NOTHING = 0,
  LAMINA_COMPACT_PLANNED = 1,
  LAMINA_COMPACT_MERGED = 2,
  LAMINA_COMPACT_DROPPED = 3
};

typedef struct lamina_compact_report {
  size_t struct_size;
  const char* snapshot; /* path */
  const char* policy;   /* with all its limits */
  lamina_uuid pause_id;
  lamina_compact_outcome outcome;
  uint32_t layers_before;
  uint32_t layers_after;
  uint32_t merged_layers;
  uint64_t read_bytes;
  uint64_t written_bytes;
  uint64_t cloned_bytes;
  uint64_t freed_bytes;
  uint64_t duplicated_bytes;
  uint32_t attempts;
  lamina_bool next_pause_must_wait;
  const char* const* notes;
  size_t note_count;
} lamina_compact_report;

/* Merges the layers that a policy selects (lamina/compact.h). */
lamina_code lamina_compact(lamina_store* store, const lamina_compact_options* options,
                           const lamina_compact_report** report, const lamina_error** error);

/* The number of layers from which on a snapshot should be merged before its next pause; 0: never.
 * LAMINA_USAGE: not a policy. `policy` may be null: the default. */
lamina_code lamina_hard_layer_limit(const char* policy, uint32_t* layers,
                                    const lamina_error** error);

/* ---- Reading: for these, `store` may be null; then snapshots are paths, and have a slash ----- */

typedef uint32_t lamina_reflink;
enum { LAMINA_REFLINK_AUTO = 0, LAMINA_REFLINK_ALWAYS = 1, LAMINA_REFLINK_NEVER = 2 };

typedef struct lamina_materialize_options {
  size_t struct_size;
  const char* snapshot; /* required */
  const char* out;      /* path of the file, which must not exist; required */
  lamina_reflink reflink;
  uint32_t reserved; /* must be 0 */
  lamina_progress* progress;
} lamina_materialize_options;

typedef struct lamina_materialize_report {
  size_t struct_size;
  uint64_t memory_bytes;
  uint64_t data_bytes;
  uint64_t cloned_bytes;
} lamina_materialize_report;

/* Writes a snapshot's memory as one file (lamina/materialize.h). */
lamina_code lamina_materialize(lamina_store* store, const lamina_materialize_options* options,
                               const lamina_materialize_report** report,
                               const lamina_error** error);

typedef struct lamina_verify_options {
  size_t struct_size;
  const char* snapshot; /* required */
  const char* against;  /* path of a memory file with the expected memory */
  lamina_progress* progress;
} lamina_verify_options;

typedef struct lamina_verify_report {
  size_t struct_size;
  lamina_bool is_intact; /* everything that has a checksum is right */
  lamina_bool is_equal;  /* the memory is that of `against`; 1 without it */
  uint64_t checked_blocks;
  uint64_t unchecked_blocks;
  uint64_t corrupt_blocks;
  uint64_t corrupt_live_blocks;
  uint64_t compared_blocks;
  uint64_t different_blocks;
  lamina_bool vmstate_corrupt;
  uint32_t reserved;
  const char* const* problems;
  size_t problem_count;
} lamina_verify_report;

/* Reads and checks all data of a snapshot (lamina/verify.h). LAMINA_OK means that the report is
 * complete, not that the data is right. */
lamina_code lamina_verify(lamina_store* store, const lamina_verify_options* options,
                          const lamina_verify_report** report, const lamina_error** error);

#define LAMINA_NO_LAYER UINT32_MAX

/* A run of memory. Never changes. */
typedef struct lamina_extent {
  uint64_t offset_bytes; /* in the guest's memory */
  uint64_t length_bytes;
  uint64_t storage_offset_bytes; /* in the layer's file; 0 for zeros */
  uint32_t layer;                /* index into `layers`; LAMINA_NO_LAYER: zeros */
  uint32_t reserved;
} lamina_extent;

typedef uint32_t lamina_has_checksums;
enum { LAMINA_CHECKSUMS_NO = 0, LAMINA_CHECKSUMS_YES = 1, LAMINA_CHECKSUMS_UNKNOWN = 2 };

typedef struct lamina_layer {
  size_t struct_size;
  lamina_uuid build_id;
  lamina_has_checksums has_checksums;
  lamina_bool has_file; /* 0: only a header was inspected, and what follows `extents` is 0 */
  uint64_t live_blocks;
  uint64_t extents;
  const char* path;   /* null without a file */
  const char* layout; /* "compact", "adopted" or "unknown"; null without a file */
  uint64_t dead_blocks;
  uint64_t size_bytes;
  uint64_t allocated_bytes;
  uint64_t link_count;
} lamina_layer;

/* How a pause was taken, as its snapshot records it. Times in milliseconds. */
typedef struct lamina_pause_record {
  size_t struct_size;
  const char* reason; /* why it is a diff or a full memory file. Untrusted text */
  lamina_bool is_diff;
  lamina_bool has_phases; /* 0: another process completed it after a crash; the rest is 0 */
  double prepare_ms;
  double pause_ms;
  double create_ms;
  double journal_ms;
  double hook_ms;
  double resume_ms;
  double frozen_ms; /* 0 without a resume */
} lamina_pause_record;

/* How much of what one resume needed was in its working set. A block has 4096 bytes. */
typedef struct lamina_resume_coverage {
  size_t struct_size;
  const char* time;         /* when the recording ended: RFC 3339, UTC */
  uint64_t used_blocks;     /* filled in advance, or on a fault */
  uint64_t known_blocks;    /* of those, in the working set */
  lamina_bool was_replayed; /* the working set was filled in advance */
  uint32_t reserved;
} lamina_resume_coverage;

typedef struct lamina_snapshot_info {
  size_t struct_size;
  const char* path;
  lamina_uuid build_id;
  lamina_uuid base_build_id;
  lamina_uuid pause_id;        /* nil: unknown */
  lamina_uuid parent_pause_id; /* nil: none */
  const char* created;         /* RFC 3339, UTC; "" if unknown */
  const char* huge_pages;      /* "None", "2M" or "Transparent"; "" if unknown. Untrusted text */
  uint64_t generation;
  uint64_t memory_bytes;
  uint64_t zero_blocks;
  uint64_t vmstate_bytes;
  lamina_bool has_vmstate;
  lamina_header_format header;
  uint32_t windows;
  uint32_t max_extents_per_window;
  double mean_extents_per_window;
  const lamina_layer* const* layers; /* oldest first */
  size_t layer_count;
  const lamina_extent* extents; /* in the order of the memory; together they cover it */
  size_t extent_count;
  const lamina_pause_record* pause; /* null: not recorded. Not freed by itself */
  uint64_t working_set_blocks;      /* 0: there is no working set, or it cannot be used */
  const lamina_resume_coverage* const* last_resumes; /* recorded ones, oldest first */
  size_t last_resume_count;
  lamina_bool once;        /* lamina_pause_options.once */
  lamina_bool is_consumed; /* it was resumed, if `once` */
} lamina_snapshot_info;

/* Describes a snapshot, or a header file (lamina/inspect.h). */
lamina_code lamina_inspect(lamina_store* store, const char* snapshot,
                           const lamina_snapshot_info** info, const lamina_error** error);

/* An open snapshot: it keeps the state that it has opened, whatever happens to the name. */
typedef struct lamina_reader lamina_reader;

lamina_code lamina_reader_open(lamina_store* store, const char* snapshot, lamina_reader** reader,
                               const lamina_error** error);
/* Reads the memory at [offset_bytes, offset_bytes + length) into `buffer`, checked against the
 * checksums (lamina/snapshot.h). `buffer` is undefined after an error. */
lamina_code lamina_reader_read(lamina_reader* reader, uint64_t offset_bytes, void* buffer,
                               size_t length, const lamina_error** error);
lamina_code lamina_reader_memory_bytes(lamina_reader* reader, uint64_t* memory_bytes,
                                       const lamina_error** error);
/* Layers and extents, as they were when it was opened. */
lamina_code lamina_reader_info(lamina_reader* reader, const lamina_snapshot_info** info,
                               const lamina_error** error);
/* Null: nothing is done. */
lamina_code lamina_reader_close(lamina_reader* reader);

typedef struct lamina_list_options {
  size_t struct_size;
  const char* path;       /* of a store, if `store` is null */
  lamina_bool dead_bytes; /* reads the end of every layer */
  uint32_t reserved;      /* must be 0 */
} lamina_list_options;

/* A file of a snapshot. Never changes. */
typedef struct lamina_file_use {
  uint64_t device;
  uint64_t inode;
  uint64_t link_count; /* names on the whole file system */
  uint64_t links_here; /* names in the snapshot's directory */
  uint64_t allocated_bytes;
} lamina_file_use;

typedef struct lamina_snapshot_listing {
  size_t struct_size;
  const char* name;
  const lamina_error* error;   /* why it cannot be used; null: it can. Not freed by itself */
  lamina_uuid pause_id;        /* nil: unknown */
  lamina_uuid parent_pause_id; /* nil: none */
  const char* parent;          /* untrusted text */
  const char* created;         /* untrusted text */
  uint64_t generation;
  uint64_t layers;
  uint64_t memory_bytes;
  lamina_header_format header; /* LAMINA_HEADER_UNKNOWN: it could not be read */
  lamina_bool has_vmstate;
  uint64_t own_bytes;    /* removing it frees them */
  uint64_t shared_bytes; /* of files that have other names too */
  uint64_t dead_bytes;   /* with lamina_list_options.dead_bytes, and `has_dead_bytes` */
  lamina_bool has_dead_bytes;
  uint32_t reserved;
  uint64_t running;
  uint64_t resumes;
  const lamina_file_use* files;
  size_t file_count;
  const lamina_uuid* ancestors; /* pause ids, newest first, the parent's first; a limited number */
  size_t ancestor_count;
  const lamina_pause_record* pause; /* null: not recorded. Not freed by itself */
} lamina_snapshot_listing;

/* A pin: it keeps what a running VM was resumed from. Untrusted texts. */
typedef struct lamina_pin_listing {
  size_t struct_size;
  const char* name;          /* "<pid>-<start time>" */
  const lamina_error* error; /* why it cannot be read; null: it can. Not freed by itself */
  int64_t pid;
  const char* foreign; /* why lamina leaves it alone here; "": it is this store's */
  const char* snapshot;
  lamina_uuid base_pause_id; /* nil: unknown */
  lamina_uuid map;           /* pause id of the materialized file that it maps; nil: none */
  const char* since;
  lamina_bool running;
  lamina_bool by_page_faults;
} lamina_pin_listing;

typedef uint32_t lamina_pending_kind;
enum { LAMINA_PENDING_PAUSE = 0, LAMINA_PENDING_INGEST = 1, LAMINA_PENDING_OTHER = 2 };

/* A memory file on its way into the store. */
typedef struct lamina_pending_listing {
  size_t struct_size;
  lamina_uuid id; /* the pause id that the snapshot will have */
  uint64_t allocated_bytes;
  const char* since;
  const char* foreign;
  lamina_pending_kind kind;
  uint32_t reserved;
} lamina_pending_listing;

/* A materialized file that VMs map. */
typedef struct lamina_map_listing {
  size_t struct_size;
  lamina_uuid pause_id;
  uint64_t allocated_bytes;
  lamina_bool used;
  uint32_t reserved;
} lamina_map_listing;

typedef struct lamina_listing {
  size_t struct_size;
  const char* path;
  const lamina_snapshot_listing* const* snapshots; /* by name */
  size_t snapshot_count;
  const lamina_pin_listing* const* pins;
  size_t pin_count;
  const lamina_pending_listing* const* pending;
  size_t pending_count;
  const lamina_map_listing* const* maps;
  size_t map_count;
  uint64_t snapshot_bytes; /* allocated bytes by purpose; each file is counted once */
  uint64_t pin_bytes;
  uint64_t pending_bytes;
  uint64_t temporary_bytes;
  uint64_t map_bytes;
  const char* const* notes;
  size_t note_count;
} lamina_listing;

/* Lists a store with its disk use (lamina/listing.h): `store`, or the one at `path`. */
lamina_code lamina_list(lamina_store* store, const lamina_list_options* options,
                        const lamina_listing** listing, const lamina_error** error);
/* Allocated bytes that are freed if all the snapshots at `indices` of `listing`, which must come
 * from lamina_list() and not be freed, are removed. LAMINA_USAGE: an index is too large. */
lamina_code lamina_freed_by_removing(const lamina_listing* listing, const size_t* indices,
                                     size_t index_count, uint64_t* freed_bytes,
                                     const lamina_error** error);

/* ---- Repair, fork, remove ------------------------------------------------------------------- */

typedef struct lamina_repair_report {
  size_t struct_size;
  lamina_bool header_rebuilt;
  lamina_bool facts_rebuilt;
  const char* const* notes;
  size_t note_count;
} lamina_repair_report;

/* Rebuilds a lost header or snapshot.json (lamina/repair.h). */
lamina_code lamina_repair(lamina_store* store, const char* snapshot,
                          const lamina_repair_report** report, const lamina_error** error);

typedef struct lamina_fork_options {
  size_t struct_size;
  const char* snapshot; /* the source; required */
  const char* fork;     /* the new snapshot; required */
  lamina_progress* progress;
} lamina_fork_options;

typedef struct lamina_fork_report {
  size_t struct_size;
  const char* fork; /* path */
  lamina_uuid pause_id;
  uint64_t generation;
  uint32_t linked_layers;
  uint32_t copied_layers;
  uint64_t linked_bytes;
  uint64_t copied_bytes;
  const char* const* notes;
  size_t note_count;
} lamina_fork_report;

/* Gives a snapshot a second name (lamina/fork.h). */
lamina_code lamina_fork(lamina_store* store, const lamina_fork_options* options,
                        const lamina_fork_report** report, const lamina_error** error);

typedef struct lamina_remove_options {
  size_t struct_size;
  const char* const* snapshots;
  size_t snapshot_count;
  lamina_bool dry_run;
  uint32_t reserved; /* must be 0 */
  lamina_progress* progress;
  /* Null: whatever state it has. With one snapshot: only if it has that of this pause; otherwise
   * its result is LAMINA_NOT_FOUND. */
  const lamina_uuid* pause_id;
} lamina_remove_options;

typedef struct lamina_removed_snapshot {
  size_t struct_size;
  const char* snapshot;      /* path */
  const lamina_error* error; /* why it was not removed; null: it was. Not freed by itself */
  lamina_uuid pause_id;      /* nil: unknown */
  uint64_t running_vms;
  uint64_t freed_bytes;
  uint64_t remaining_bytes;
} lamina_removed_snapshot;

typedef struct lamina_remove_report {
  size_t struct_size;
  const lamina_removed_snapshot* const* snapshots; /* in the order given, each once */
  size_t snapshot_count;
  const char* const* notes;
  size_t note_count;
} lamina_remove_report;

/* Removes snapshots (lamina/remove.h). LAMINA_OK does not mean that all were removed: look at the
 * errors in the report. */
lamina_code lamina_remove(lamina_store* store, const lamina_remove_options* options,
                          const lamina_remove_report** report, const lamina_error** error);

/* ---- Pause, resume, recover ----------------------------------------------------------------- */

/* A Firecracker process. Times in milliseconds; 0: the default of lamina/lifecycle.h. */
typedef struct lamina_vmm {
  size_t struct_size;
  const char* api_socket; /* path, as this process sees it; required */
  const char* jail;       /* root directory of Firecracker's process; null: that of this process */
  uint64_t request_timeout_ms;
  uint64_t create_timeout_ms;
  uint64_t load_timeout_ms;
} lamina_vmm;

typedef uint32_t lamina_after_pause;
enum { LAMINA_AFTER_STOP = 0, LAMINA_AFTER_RESUME = 1, LAMINA_AFTER_STAY = 2 };

typedef struct lamina_pause_options {
  size_t struct_size;
  const lamina_vmm* vmm;   /* required */
  const char* name;        /* of the new snapshot in the store, without a slash; required */
  const char* frozen_hook; /* command for /bin/sh, run while the VM is frozen */
  uint64_t hook_timeout_ms;
  /* Called with `context` while the VM is frozen, after the hook, from the thread that called
   * lamina_pause(). Another result than 0 has the same consequences as a hook that failed. It must
   * return, by no exception or longjmp, and must not call lamina_pause(), lamina_resume() or
   * lamina_recover() for this VM. */
  int (*while_frozen)(void* context);
  void* context;
  const char* const* attachments; /* paths of files to store too */
  size_t attachment_count;
  const lamina_uuid* pause_id; /* of the new state, never used before; default: random */
  /* Program and arguments of the store's page server, which is started, as a process of its own
   * that survives this one, if none runs: {"lamina", "serve", "--store", STORE}. */
  const char* const* page_server_command;
  size_t page_server_argument_count;
  lamina_after_pause after;
  lamina_bool full;    /* a full memory file, also where a diff is possible */
  lamina_bool replace; /* also a snapshot that this VM does not descend from */
  uint32_t reserved;   /* must be 0 */
  /* Memory that diffs of VMs that run on may use (lamina/lifecycle.h, freeze_memory_bytes).
   * 0: half of what is available. LAMINA_NO_FREEZE_MEMORY: none, the disk is used. */
  uint64_t freeze_memory_bytes;
  const char* freeze_directory; /* on tmpfs; default: /dev/shm/lamina-freeze-UID */
  lamina_progress* progress;
  lamina_bool once;   /* the snapshot may be resumed only once, and not be forked */
  uint32_t reserved2; /* must be 0 */
} lamina_pause_options;

#define LAMINA_NO_FREEZE_MEMORY UINT64_MAX

typedef uint32_t lamina_pause_place;
enum { LAMINA_PLACE_DISK = 0, LAMINA_PLACE_MEMORY = 1 };

typedef struct lamina_pause_report {
  size_t struct_size;
  const char* snapshot; /* path; NAME@PAUSE-ID if the name was taken meanwhile */
  lamina_uuid pause_id;
  lamina_uuid parent_pause_id; /* nil: none */
  const char* reason;          /* why it is a diff or a full memory file */
  uint64_t generation;
  uint64_t memory_bytes;
  uint64_t stored_bytes;
  uint64_t unchanged_bytes;
  lamina_bool is_diff;
  lamina_pause_place place; /* where Firecracker has written the memory file */
  const char* place_reason; /* why there */
  double prepare_ms;
  double pause_ms;
  double create_ms;
  double journal_ms;
  double hook_ms;
  double resume_ms;
  double frozen_ms;
  double complete_ms;
  double publish_ms;
  double durable_ms; /* from the pause request until the snapshot was on the disk */
  const char* const* notes;
  size_t note_count;
} lamina_pause_report;

/* Pauses a VM into the store. lamina/lifecycle.h says what each failure leaves behind, and how to
 * find out with `pause_id`. */
lamina_code lamina_pause(lamina_store* store, const lamina_pause_options* options,
                         const lamina_pause_report** report, const lamina_error** error);

typedef uint32_t lamina_resume_mode;
enum { LAMINA_RESUME_AUTO = 0, LAMINA_RESUME_PAGE_FAULTS = 1, LAMINA_RESUME_FILE = 2 };

typedef uint32_t lamina_populate;
enum {
  LAMINA_POPULATE_DEFAULT = 0, /* the working set */
  LAMINA_POPULATE_NONE = 1,
  LAMINA_POPULATE_WORKING_SET = 2,
  LAMINA_POPULATE_ALL = 3
};

/* Another host device for a network interface of the VM. Never changes. */
typedef struct lamina_network_override {
  const char* interface_id;
  const char* host_device;
} lamina_network_override;

/* Another file for a disk of a Cloud Hypervisor VM. Never changes. */
typedef struct lamina_drive_override {
  const char* drive_id; /* as in the VM's configuration: "_disk0" */
  const char* path;     /* as the VMM sees it */
} lamina_drive_override;

typedef struct lamina_resume_options {
  size_t struct_size;
  const lamina_vmm* vmm; /* a Firecracker that was just started; required */
  const char* name;      /* of the snapshot in the store, without a slash; required */
  const lamina_network_override* network_overrides;
  size_t network_override_count;
  const char* vsock_override;
  const char* const* page_server_command; /* as lamina_pause_options.page_server_command */
  size_t page_server_argument_count;
  lamina_resume_mode mode;
  lamina_populate populate;
  lamina_huge_pages huge_pages;
  lamina_bool record;
  lamina_bool clock_realtime;
  lamina_bool stay_paused;
  lamina_progress* progress;
  const char* mmds;      /* path of a file with a JSON object: the contents of the VM's MMDS */
  lamina_bool no_record; /* records nothing */
  lamina_bool again;     /* also a snapshot of `once` that was resumed before */
  /* These need Cloud Hypervisor, whose VMs are not resumed with a file that another process has
   * open for writing (LAMINA_BUSY), or that belongs to the store (LAMINA_USAGE). */
  const lamina_drive_override* drive_overrides;
  size_t drive_override_count;
  const char* serial_override;  /* another file or socket of the serial console */
  const char* console_override; /* the same of the console device */
} lamina_resume_options;

typedef struct lamina_resume_report {
  size_t struct_size;
  const char* snapshot; /* path */
  lamina_uuid pause_id;
  int32_t pid;             /* of Firecracker */
  lamina_resume_mode mode; /* page faults or file */
  const char* reason;      /* why this mode */
  double pin_ms;
  double prepare_ms;
  double load_ms;
  double resume_ms;
  lamina_bool started_page_server;
  uint32_t reserved;
  const char* const* notes;
  size_t note_count;
  lamina_uuid resume_id; /* of this resume; no other has it */
  uint64_t clone_number; /* among the resumes of the pause in this store, from 1; 0: unknown */
  const char* generation_device; /* how the guest learns of it: "vmgenid", or "none" */
} lamina_resume_report;

/* Loads a snapshot into a Firecracker, and resumes the VM (lamina/lifecycle.h). */
lamina_code lamina_resume(lamina_store* store, const lamina_resume_options* options,
                          const lamina_resume_report** report, const lamina_error** error);

/* What one clone has of its own; the fields are those of lamina_resume_options. */
typedef struct lamina_clone_devices {
  size_t struct_size;
  const lamina_network_override* network_overrides;
  size_t network_override_count;
  const char* vsock_override;
  const lamina_drive_override* drive_overrides;
  size_t drive_override_count;
  const char* serial_override;
  const char* console_override;
} lamina_clone_devices;

typedef struct lamina_live_fork_options {
  size_t struct_size;
  /* The checkpoint of the source; `after` must be LAMINA_AFTER_RESUME or LAMINA_AFTER_STAY.
   * Required. */
  const lamina_pause_options* pause;
  /* Of the clones; default: all defaults. `vmm` and `name` must be null. */
  const lamina_resume_options* resume;
  /* The Firecrackers that become clones: each was just started. At least one. */
  const lamina_vmm* const* clones;
  size_t clone_count;
  /* None, or one for each clone, in the order of `clones`, used in place of the fields of the same
   * names in `resume`; null: this clone has nothing of its own. Clones of a Cloud Hypervisor VM
   * need them for each file and socket that the source has open: it runs on. */
  const lamina_clone_devices* const* devices;
  size_t device_count;
} lamina_live_fork_options;

typedef struct lamina_live_clone {
  size_t struct_size;
  const char* api_socket;
  const lamina_error* error;           /* why it does not run; null: it does. Not freed by itself */
  const lamina_resume_report* resumed; /* null if it does not run. Not freed by itself */
  double ready_ms; /* from the beginning of the fork until its VM ran, or had failed */
} lamina_live_clone;

typedef struct lamina_live_fork_report {
  size_t struct_size;
  const lamina_pause_report* pause;       /* of the source. Not freed by itself */
  const lamina_live_clone* const* clones; /* in the order of the options */
  size_t clone_count;
  double readable_ms; /* from the beginning until clones could be loaded */
  double clones_ms;   /* until the last clone ran */
  double durable_ms;  /* until the snapshot was on the disk */
  const char* const* notes;
  size_t note_count;
} lamina_live_fork_report;

/* Takes a checkpoint of a running VM, and resumes clones from it before it is on the disk
 * (lamina/live_fork.h). LAMINA_OK does not mean that all clones run: look at their errors.
 * Version LAMINA_C_2. */
lamina_code lamina_live_fork(lamina_store* store, const lamina_live_fork_options* options,
                             const lamina_live_fork_report** report, const lamina_error** error);

typedef struct lamina_recover_options {
  size_t struct_size;
  uint64_t request_timeout_ms; /* as in lamina_vmm */
  uint64_t create_timeout_ms;
  uint64_t load_timeout_ms;
  const char* const* page_server_command; /* as lamina_pause_options.page_server_command */
  size_t page_server_argument_count;
  const lamina_uuid* give_up; /* pause ids of queued pauses to discard: their states are lost */
  size_t give_up_count;
  lamina_bool dry_run;
  lamina_bool adopt_store;
  lamina_progress* progress;
} lamina_recover_options;

/* A snapshot that is still being fetched from a bucket (lamina_begin_pull()). */
typedef struct lamina_arrival {
  size_t struct_size;
  lamina_uuid id;               /* for lamina_fetch_arriving() */
  const char* name;             /* that it will get in the store; empty: unreadable */
  const char* bucket;           /* where it comes from */
  uint64_t bytes;               /* allocated in the store */
  uint64_t frames;              /* of its layers */
  uint64_t frames_here;         /* that were fetched */
  uint64_t vms;                 /* that were resumed from it and may run */
  lamina_bool has_fetcher;      /* a process fetches it now */
  lamina_bool is_being_resumed; /* the process that began it has yet to resume a VM from it */
  lamina_bool is_lost;          /* the bucket does not have the other frames any more */
  lamina_bool is_removed;       /* none of these used it */
} lamina_arrival;

typedef struct lamina_recover_report {
  size_t struct_size;
  uint64_t completed;
  uint64_t discarded;
  uint64_t queued;
  uint64_t released_pins;
  uint64_t removed_maps;
  uint64_t resumed_vms;
  uint64_t foreign;
  uint64_t adopted;
  const char* const* notes;
  size_t note_count;
  const lamina_arrival* const* arrivals;
  size_t arrival_count;
  uint64_t removed_arrivals; /* that nobody used any more */
} lamina_recover_report;

/* Finishes or removes what killed processes and power failures have left unfinished
 * (lamina/lifecycle.h). */
lamina_code lamina_recover(lamina_store* store, const lamina_recover_options* options,
                           const lamina_recover_report** report, const lamina_error** error);

/* The page server of a store: a process of its own, started by lamina_pause(), lamina_resume() and
 * lamina_recover() with their `page_server_command`, or by the program as `lamina serve`. */
typedef uint32_t lamina_page_server_state;
enum {
  LAMINA_PAGE_SERVER_NONE = 0,
  LAMINA_PAGE_SERVER_SILENT = 1, /* starting, or killed and not quite gone: ask again */
  LAMINA_PAGE_SERVER_BUSY = 2,   /* it has not replied within ten seconds */
  LAMINA_PAGE_SERVER_SERVES = 3,
  /* It runs, and no process of it can serve, for lack of threads, processes, memory or
     descriptors. It goes on trying. */
  LAMINA_PAGE_SERVER_CANNOT_SERVE = 4
};

/* Asks the page server of `store` whether it serves; waits at most ten seconds. */
lamina_code lamina_find_page_server(lamina_store* store, lamina_page_server_state* state,
                                    const lamina_error** error);
/* Its metrics, in Prometheus' text format. LAMINA_NOT_FOUND: none runs. */
lamina_code lamina_page_server_metrics(lamina_store* store, const lamina_text** metrics,
                                       const lamina_error** error);

/* ---- Packed snapshots; LAMINA_UNSUPPORTED in a library without LAMINA_REMOTE ------------------
 */

typedef uint32_t lamina_pack_codec;
enum { LAMINA_CODEC_ZSTD = 0, LAMINA_CODEC_LZ4 = 1, LAMINA_CODEC_NONE = 2 };

/* Keys: at most one of the two; both null: not encrypted (lamina/pack.h). */
typedef struct lamina_pack_options {
  size_t struct_size;
  const char* snapshot; /* required */
  const char* out;      /* path of the file, which must not exist; required */
  const char* key_file;
  const char* key_command;
  lamina_pack_codec codec;
  uint32_t frame_blocks; /* 1 to 64; 0: the default */
  lamina_progress* progress;
} lamina_pack_options;

typedef struct lamina_pack_report {
  size_t struct_size;
  lamina_uuid pause_id;
  uint64_t memory_bytes;
  uint64_t data_bytes;
  uint64_t packed_bytes;
  uint32_t layers;
  uint32_t files;
  lamina_bool is_encrypted;
  uint32_t reserved;
  const char* const* notes;
  size_t note_count;
} lamina_pack_report;

/* Writes a snapshot as one file (lamina/pack.h). `store` may be null, as for reading. */
lamina_code lamina_pack(lamina_store* store, const lamina_pack_options* options,
                        const lamina_pack_report** report, const lamina_error** error);

typedef struct lamina_unpack_options {
  size_t struct_size;
  const char* file;     /* a packed snapshot; required */
  const char* snapshot; /* the new snapshot; required */
  const char* key_file;
  const char* key_command;
  lamina_progress* progress;
} lamina_unpack_options;

typedef struct lamina_unpack_report {
  size_t struct_size;
  const char* snapshot; /* path */
  lamina_uuid pause_id;
  uint64_t generation;
  uint64_t memory_bytes;
  uint64_t data_bytes;
  uint64_t packed_bytes;
  uint32_t layers;
  uint32_t files;
  const char* const* notes;
  size_t note_count;
} lamina_unpack_report;

/* Makes a snapshot of a packed one (lamina/pack.h). */
lamina_code lamina_unpack(lamina_store* store, const lamina_unpack_options* options,
                          const lamina_unpack_report** report, const lamina_error** error);

/* ---- Object stores; LAMINA_UNSUPPORTED in a library without LAMINA_REMOTE ---------------------
 */

/* `url` is s3://BUCKET/PREFIX?OPTION=VALUE&... or file:///DIRECTORY (lamina/remote.h). */
typedef struct lamina_push_options {
  size_t struct_size;
  const char* url;      /* required */
  const char* snapshot; /* required */
  const char* name;     /* in the bucket; default: that of the snapshot */
  const char* key_file;
  const char* key_command;
  lamina_pack_codec codec;
  lamina_bool replace;         /* publishes also if it does not descend from the newest state */
  uint64_t rate_limit_bytes_s; /* of uploads; 0: no limit */
  lamina_bool background; /* gives the calling thread idle CPU and I/O priority. It keeps them */
  uint32_t reserved;      /* must be 0 */
  lamina_progress* progress;
  lamina_bool dry_run; /* nothing is written; the report says what would be sent */
  uint32_t reserved2;  /* must be 0 */
} lamina_push_options;

typedef struct lamina_push_report {
  size_t struct_size;
  const char* snapshot; /* path */
  const char* name;     /* under which it was published */
  uint64_t number;      /* of its record */
  lamina_uuid pause_id;
  lamina_bool is_conflict; /* the newest state is another one's: see `name` */
  lamina_bool is_already_there;
  uint32_t uploaded_objects;
  uint32_t reused_objects;
  uint64_t data_bytes;
  uint64_t uploaded_bytes;
  uint64_t reused_bytes;
  const char* const* notes;
  size_t note_count;
} lamina_push_report;

/* Pushes a snapshot. `store` may be null: then `snapshot` is a path. */
lamina_code lamina_push(lamina_store* store, const lamina_push_options* options,
                        const lamina_push_report** report, const lamina_error** error);

typedef struct lamina_pull_options {
  size_t struct_size;
  const char* url;  /* required */
  const char* name; /* in the bucket; required */
  const char* as;   /* of the new snapshot; default: `name` */
  const char* key_file;
  const char* key_command;
  lamina_progress* progress;
  /* The snapshots of the store that the bucket has too take at most so many bytes: those that were
   * not resumed for longest are evicted (bound_cache() in lamina/remote.h). 0: no bound. */
  uint64_t cache_bytes;
} lamina_pull_options;

typedef struct lamina_pull_report {
  size_t struct_size;
  const char* snapshot; /* path */
  const char* name;     /* in the bucket */
  uint64_t number;      /* of the record */
  lamina_uuid pause_id;
  uint64_t generation;
  uint64_t memory_bytes;
  uint32_t linked_layers;
  uint32_t fetched_layers;
  uint64_t data_bytes;
  uint64_t fetched_bytes;
  const char* const* notes;
  size_t note_count;
  /* With lamina_pull_options.cache_bytes; otherwise 0 and none: */
  uint64_t cache_bytes; /* that the cache takes now */
  const char* const* evicted;
  size_t evicted_count;
  uint64_t evicted_bytes;
} lamina_pull_report;

/* Fetches the newest state of a name into the store. A pull with a bound of another process may
 * evict it before a VM is resumed: the report of lamina_begin_pull() prevents that. */
lamina_code lamina_pull(lamina_store* store, const lamina_pull_options* options,
                        const lamina_pull_report** report, const lamina_error** error);

typedef struct lamina_begin_pull_options {
  size_t struct_size;
  const char* url;  /* required */
  const char* name; /* in the bucket; required */
  const char* as;   /* of the new snapshot; default: `name` */
  const char* key_file;
  const char* key_command;
  /* Program and arguments that fetch the rest, {"lamina", "remote", "fetch"}: the store's page
   * server starts it. Default: none; lamina_pull() of the name fetches the rest. */
  const char* const* fetch_command;
  size_t fetch_argument_count;
  /* A VM that has waited so long for a block is killed. 0: an hour. LAMINA_NO_WAIT_LIMIT: never. */
  uint64_t wait_limit_s;
  lamina_progress* progress;
  uint64_t cache_bytes; /* as lamina_pull_options.cache_bytes */
} lamina_begin_pull_options;

#define LAMINA_NO_WAIT_LIMIT UINT64_MAX

typedef struct lamina_begin_pull_report {
  size_t struct_size;
  const lamina_pull_report* pull; /* Not freed by itself */
  /* 1: lamina_resume() finds the snapshot although its memory is still being fetched; other
   * functions do not find it yet. 0: it is whole. */
  lamina_bool is_arriving;
  lamina_bool is_already_there; /* it was whole, or arriving, before: nothing was done */
} lamina_begin_pull_report;

/* Begins a pull, so that a VM can be resumed by page faults at once (begin_pull() in
 * lamina/remote.h). The report keeps lamina_recover() from removing what arrives: free it after
 * lamina_resume(). Version LAMINA_C_2. */
lamina_code lamina_begin_pull(lamina_store* store, const lamina_begin_pull_options* options,
                              const lamina_begin_pull_report** report, const lamina_error** error);

typedef struct lamina_fetch_options {
  size_t struct_size;
  const lamina_uuid* arrival; /* required; lamina_recover() lists them */
  lamina_progress* progress;
} lamina_fetch_options;

typedef struct lamina_fetch_report {
  size_t struct_size;
  const char* snapshot; /* path; empty: another process has completed it */
  const char* name;
  uint64_t fetched_bytes;
  const char* const* notes;
  size_t note_count;
} lamina_fetch_report;

/* Fetches what is missing of a snapshot that is arriving (fetch_arriving() in lamina/remote.h):
 * first what VMs wait for. Failures of the bucket are repeated without limit: pass a progress to
 * end it. LAMINA_BUSY: another process fetches it. Version LAMINA_C_3. */
lamina_code lamina_fetch_arriving(lamina_store* store, const lamina_fetch_options* options,
                                  const lamina_fetch_report** report, const lamina_error** error);

typedef struct lamina_remote_list_options {
  size_t struct_size;
  const char* url;   /* required */
  lamina_bool all;   /* all records, not only the newest state of each name */
  uint32_t reserved; /* must be 0 */
  lamina_progress* progress;
} lamina_remote_list_options;

typedef struct lamina_remote_listing {
  size_t struct_size;
  const char* name;
  const lamina_error* error; /* why it cannot be read; null: it can. Not freed by itself */
  uint64_t number;
  lamina_uuid pause_id;
  lamina_uuid parent_pause_id; /* nil: none */
  const char* created;
  uint64_t memory_bytes;
  uint64_t stored_bytes;
  uint32_t objects;
  lamina_bool encrypted;
} lamina_remote_listing;

typedef struct lamina_remote_list_report {
  size_t struct_size;
  const lamina_remote_listing* const* snapshots; /* by name, then by number */
  size_t snapshot_count;
  const char* const* notes;
  size_t note_count;
} lamina_remote_list_report;

lamina_code lamina_remote_list(const lamina_remote_list_options* options,
                               const lamina_remote_list_report** report,
                               const lamina_error** error);

typedef struct lamina_remote_remove_options {
  size_t struct_size;
  const char* url;  /* required */
  const char* name; /* required */
  lamina_bool dry_run;
  uint32_t reserved; /* must be 0 */
  lamina_progress* progress;
} lamina_remote_remove_options;

typedef struct lamina_remote_remove_report {
  size_t struct_size;
  const char* name;
  uint64_t number;  /* of the newest state */
  uint64_t records; /* removed, or to be removed */
  const char* const* notes;
  size_t note_count;
} lamina_remote_remove_report;

/* Removes all states of a name; the objects stay until the next prune. */
lamina_code lamina_remote_remove(const lamina_remote_remove_options* options,
                                 const lamina_remote_remove_report** report,
                                 const lamina_error** error);

/* Which older states stay; 0: the rule is not used. If no rule is used, all stay. The newest state
 * of a name always stays, so 1 is the least for `keep_last`. */
typedef struct lamina_prune_options {
  size_t struct_size;
  const char* url; /* required */
  uint64_t keep_last;
  uint64_t keep_daily;
  uint64_t keep_within_s;
  const char* pattern; /* of names, as of the shell; default: all */
  lamina_bool dry_run;
  uint32_t reserved; /* must be 0 */
  lamina_progress* progress;
} lamina_prune_options;

typedef struct lamina_prune_report {
  size_t struct_size;
  uint64_t kept_snapshots;
  uint64_t removed_records;
  uint64_t expired_pins;
  uint64_t removed_objects;
  uint64_t removed_bytes;
  uint64_t kept_objects;
  const char* const* notes;
  size_t note_count;
  uint64_t aborted_uploads;
} lamina_prune_report;

/* Removes older states, then what nothing references. */
lamina_code lamina_prune(const lamina_prune_options* options, const lamina_prune_report** report,
                         const lamina_error** error);

/* The tenants' keys of a bucket (lamina/remote_keys.h). A key id is "file:" and 16 hexadecimal
 * digits, which depend on the key; "command" for all key commands; "" for what is not encrypted. */
typedef struct lamina_remote_key_list_options {
  size_t struct_size;
  const char* url;      /* required */
  const char* key_file; /* its key is marked in the report */
  lamina_progress* progress;
} lamina_remote_key_list_options;

/* A state that a tenant's key wraps the keys of. */
typedef struct lamina_keyed_state {
  size_t struct_size;
  const char* name;
  uint64_t number;
  uint64_t stored_bytes;
  uint32_t objects;      /* other states may share them */
  lamina_bool is_newest; /* of its name: what a pull gets */
} lamina_keyed_state;

typedef struct lamina_remote_key {
  size_t struct_size;
  const char* key_id;
  uint64_t newest_states; /* of `states`, those that a pull gets */
  uint64_t objects;       /* each counted once */
  uint64_t object_bytes;
  const lamina_keyed_state* const* states; /* by name, then by number */
  size_t state_count;
  lamina_bool is_given; /* it is the key of lamina_remote_key_list_options.key_file */
  uint32_t reserved;
} lamina_remote_key;

typedef struct lamina_remote_key_list_report {
  size_t struct_size;
  const lamina_remote_key* const* keys; /* by id */
  size_t key_count;
  const char* const* problems; /* records that cannot be read, one line each */
  size_t problem_count;
} lamina_remote_key_list_report;

/* Lists which tenant's key wraps the keys of which states. No key is needed. Version LAMINA_C_2. */
lamina_code lamina_remote_key_list(const lamina_remote_key_list_options* options,
                                   const lamina_remote_key_list_report** report,
                                   const lamina_error** error);

typedef struct lamina_remote_key_rotate_options {
  size_t struct_size;
  const char* url;          /* required */
  const char* pattern;      /* of names, as of the shell; default: all */
  const char* old_key_file; /* exactly one of the two */
  const char* old_key_command;
  const char* key_file; /* the new key; exactly one of the two */
  const char* key_command;
  lamina_bool keep_older; /* older states stay, wrapped by the old key */
  lamina_bool dry_run;
  lamina_progress* progress;
} lamina_remote_key_rotate_options;

typedef struct lamina_remote_key_rotate_report {
  size_t struct_size;
  const char* old_key_id;
  const char* key_id;
  uint64_t rotated_states; /* or to be rotated: the newest of their names */
  uint64_t rotated_bytes;  /* of their objects; none is sent */
  uint64_t removed_states; /* older ones with the old key, or to be removed */
  uint64_t kept_states;    /* older ones with the old key, by `keep_older` */
  uint64_t other_names;    /* whose newest state has another key, or none */
  lamina_bool is_complete; /* the old key is not needed any more for the names of the pattern */
  uint32_t reserved;
  const char* const* problems; /* names that still have the old key, and why */
  size_t problem_count;
} lamina_remote_key_rotate_report;

/* Wraps the keys of objects with a new key of the tenant, without reading or sending data. What
 * cannot be rotated is in the report: LAMINA_OK does not mean that `is_complete` is 1. Version
 * LAMINA_C_2. */
lamina_code lamina_remote_key_rotate(const lamina_remote_key_rotate_options* options,
                                     const lamina_remote_key_rotate_report** report,
                                     const lamina_error** error);

typedef struct lamina_remote_key_destroy_options {
  size_t struct_size;
  const char* url;    /* required */
  const char* key_id; /* not ""; the key itself is not needed; required */
  lamina_bool dry_run;
  uint32_t reserved; /* must be 0 */
  lamina_progress* progress;
} lamina_remote_key_destroy_options;

typedef struct lamina_remote_key_destroy_report {
  size_t struct_size;
  const char* key_id;
  const char* const* lost_names; /* snapshots whose newest state had this key */
  size_t lost_name_count;
  uint64_t removed_states; /* or to be removed; older ones too */
  uint64_t lost_objects;   /* that only these states have keys of; a prune collects them */
  uint64_t lost_bytes;
  uint64_t pins; /* pushes and pulls that may be under way */
  const char* const* notes;
  size_t note_count;
} lamina_remote_key_destroy_report;

/* Removes every record whose keys a tenant's key wraps, so that nobody can read the objects any
 * more. Cannot be undone. Version LAMINA_C_2. */
lamina_code lamina_remote_key_destroy(const lamina_remote_key_destroy_options* options,
                                      const lamina_remote_key_destroy_report** report,
                                      const lamina_error** error);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* LAMINA_H */
