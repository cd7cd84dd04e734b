/* What a host agent does with lamina, in C: stores a memory file and a diff of it, reads the second
 * snapshot in place, merges its layers, verifies it, and lists the store. A second thread shows the
 * progress of the verification.
 *
 *   agent FULL DIFF STORE
 *
 * cc -std=c11 agent.c $(pkg-config --cflags --libs lamina) -pthread -o agent */
#include <inttypes.h>
#include <lamina.h>
#include <pthread.h>
#include <stdio.h>

/* Prints an error, if there is one, and frees it. */
static lamina_code report(lamina_code code, const lamina_error* error) {
  if (error != NULL) {
    fprintf(stderr, "agent: %s (%s)%s%s\n", error->message, lamina_code_name(code),
            error->remedy[0] != '\0' ? "; " : "", error->remedy);
    lamina_free(error);
  }
  return code;
}

static lamina_code store_memory(lamina_store* store, const char* file, const char* snapshot,
                                const char* parent) {
  const lamina_error* error = NULL;
  const lamina_ingest_report* ingested = NULL;
  lamina_ingest_options options = {.struct_size = sizeof options};
  options.memory_file = file;
  options.snapshot = snapshot;
  options.parent = parent;
  lamina_code code = lamina_ingest(store, &options, &ingested, &error);
  if (code != LAMINA_OK) return report(code, error);
  char build_id[LAMINA_UUID_TEXT_SIZE];
  code = lamina_uuid_format(&ingested->build_id, build_id, &error);
  printf("%s: %" PRIu64 " blocks stored in layer %s\n", snapshot, ingested->stored_blocks,
         code == LAMINA_OK ? build_id : "?");
  for (size_t i = 0; i < ingested->note_count; ++i) fprintf(stderr, "%s\n", ingested->notes[i]);
  lamina_free(ingested);
  return report(code, error);
}

/* Adds up the bytes of the memory, 64 KiB at a time. The reader keeps the state that it has opened,
 * whatever happens to the name. */
static lamina_code read_memory(lamina_store* store, const char* snapshot, uint64_t* sum) {
  const lamina_error* error = NULL;
  lamina_reader* reader = NULL;
  uint64_t memory_bytes = 0;
  lamina_code code = lamina_reader_open(store, snapshot, &reader, &error);
  if (code == LAMINA_OK) code = lamina_reader_memory_bytes(reader, &memory_bytes, &error);
  static unsigned char buffer[64 << 10];
  *sum = 0;
  for (uint64_t offset = 0; code == LAMINA_OK && offset < memory_bytes;) {
    const uint64_t left = memory_bytes - offset;
    const size_t length = left < sizeof buffer ? (size_t)left : sizeof buffer;
    code = lamina_reader_read(reader, offset, buffer, length, &error);
    for (size_t i = 0; code == LAMINA_OK && i < length; ++i) *sum += buffer[i];
    offset += length;
  }
  lamina_reader_close(reader);
  return report(code, error);
}

static lamina_code merge(lamina_store* store, const char* snapshot) {
  const lamina_error* error = NULL;
  const lamina_merge_report* merged = NULL;
  lamina_merge_options options = {.struct_size = sizeof options};
  options.snapshot = snapshot;
  const lamina_code code = lamina_merge(store, &options, &merged, &error);
  if (code != LAMINA_OK) return report(code, error);
  printf("%s: %" PRIu32 " layers, then %" PRIu32 "\n", snapshot, merged->layers_before,
         merged->layers_after);
  lamina_free(merged);
  return LAMINA_OK;
}

/* An operation in a thread of its own; lamina calls nothing of the program's, the program polls. */
struct verification {
  lamina_store* store;
  const char* snapshot;
  lamina_progress* progress;
  lamina_code code;
};

static void* run_verification(void* argument) {
  struct verification* verification = argument;
  const lamina_error* error = NULL;
  const lamina_verify_report* verified = NULL;
  lamina_verify_options options = {.struct_size = sizeof options};
  options.snapshot = verification->snapshot;
  options.progress = verification->progress;
  lamina_code code = lamina_verify(verification->store, &options, &verified, &error);
  if (code == LAMINA_OK && !verified->is_intact) {
    for (size_t i = 0; i < verified->problem_count; ++i) {
      fprintf(stderr, "agent: %s\n", verified->problems[i]);
    }
    code = LAMINA_CORRUPT;
  }
  lamina_free(verified);
  verification->code = report(code, error);
  return NULL;
}

static lamina_code verify(lamina_store* store, const char* snapshot) {
  const lamina_error* error = NULL;
  struct verification verification = {.store = store, .snapshot = snapshot};
  lamina_code code = lamina_progress_open(&verification.progress, &error);
  if (code != LAMINA_OK) return report(code, error);
  pthread_t thread;
  if (pthread_create(&thread, NULL, run_verification, &verification) != 0) {
    lamina_progress_close(verification.progress);
    fprintf(stderr, "agent: the thread cannot be started\n");
    return LAMINA_FAILED;
  }
  /* A real agent would look ten times a second, and call lamina_progress_cancel() when it is told
   * to stop. */
  pthread_join(thread, NULL);
  lamina_progress_state state = {.struct_size = sizeof state};
  code = lamina_progress_get(verification.progress, &state, &error);
  if (code == LAMINA_OK) {
    printf("%s: %s, %" PRIu64 " of %" PRIu64 " bytes\n", snapshot, state.phase, state.done_bytes,
           state.total_bytes);
  }
  lamina_progress_close(verification.progress);
  return verification.code != LAMINA_OK ? verification.code : report(code, error);
}

static lamina_code list(lamina_store* store) {
  const lamina_error* error = NULL;
  const lamina_listing* listing = NULL;
  const lamina_code code = lamina_list(store, NULL, &listing, &error);
  if (code != LAMINA_OK) return report(code, error);
  for (size_t i = 0; i < listing->snapshot_count; ++i) {
    const lamina_snapshot_listing* snapshot = listing->snapshots[i];
    if (snapshot->error != NULL) {
      printf("%s: cannot be used: %s\n", snapshot->name, snapshot->error->message);
    } else {
      printf("%s: %" PRIu64 " layers, %" PRIu64 " bytes of its own\n", snapshot->name,
             snapshot->layers, snapshot->own_bytes);
    }
  }
  lamina_free(listing);
  return LAMINA_OK;
}

static lamina_code run(lamina_store* store, const char* full, const char* diff) {
  lamina_code code = store_memory(store, full, "vm-1", NULL);
  if (code == LAMINA_OK) code = store_memory(store, diff, "vm-2", "vm-1");
  uint64_t before = 0;
  uint64_t after = 0;
  if (code == LAMINA_OK) code = read_memory(store, "vm-2", &before);
  if (code == LAMINA_OK) code = merge(store, "vm-2");
  if (code == LAMINA_OK) code = read_memory(store, "vm-2", &after);
  if (code == LAMINA_OK && before != after) {
    fprintf(stderr, "agent: the merge has changed the memory\n");
    code = LAMINA_CORRUPT;
  }
  if (code == LAMINA_OK) code = verify(store, "vm-2");
  if (code == LAMINA_OK) code = list(store);
  if (code == LAMINA_OK) printf("sum of the memory's bytes: %" PRIu64 "\n", after);
  return code;
}

int main(int argc, char** argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: agent FULL DIFF STORE (lamina %s)\n", lamina_version());
    return 2;
  }
  const lamina_error* error = NULL;
  lamina_store* store = NULL;
  lamina_code code = lamina_store_open(argv[3], &store, &error);
  if (code != LAMINA_OK) return report(code, error) != LAMINA_OK;
  code = run(store, argv[1], argv[2]);
  lamina_store_close(store);
  return code != LAMINA_OK;
}
