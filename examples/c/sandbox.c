/* What a sandbox platform does with lamina, in C: recovers its store, pauses and resumes
 * Firecracker VMs, and merges layers.
 *
 *   sandbox STORE NAME SOCKET pause        the VM ends
 *   sandbox STORE NAME SOCKET checkpoint   the VM runs on, and its layers are merged
 *   sandbox STORE NAME SOCKET resume       into a Firecracker that was just started
 *   sandbox STORE NAME SOCKET fork CLONE   the VM runs on, and a clone of it at socket CLONE
 *
 * SOCKET is Firecracker's API socket. A real platform keeps the store open, and merges in a thread
 * of its own. */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <lamina.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static void print_notes(const char* const* notes, size_t count) {
  for (size_t i = 0; i < count; ++i) fprintf(stderr, "sandbox: %s\n", notes[i]);
}

/* Prints an error, if there is one, and frees it. */
static lamina_code report(lamina_code code, const lamina_error* error) {
  if (error != NULL) {
    print_notes(error->notes, error->note_count);
    fprintf(stderr, "sandbox: %s%s%s\n", error->message, error->remedy[0] != '\0' ? "; " : "",
            error->remedy);
    lamina_free(error);
  }
  return code;
}

/* True, after a short wait, while something else works on the same snapshot or VM. Frees the error
 * then. */
static int is_to_be_repeated(lamina_code code, const lamina_error** error, int* attempts) {
  const struct timespec delay = {.tv_sec = 0, .tv_nsec = 100 * 1000 * 1000};
  if (code != LAMINA_BUSY || ++*attempts == 50) return 0;
  lamina_free(*error);
  nanosleep(&delay, NULL);
  return 1;
}

/* Says what became of a pause that failed, or that a killed process had begun. */
static void print_fate(lamina_store* store, const lamina_uuid* pause_id) {
  const lamina_listing* listing = NULL;
  if (lamina_recover(store, NULL, NULL, NULL) != LAMINA_OK) return;
  if (lamina_list(store, NULL, &listing, NULL) != LAMINA_OK) return;
  const char* fate = NULL;
  for (size_t i = 0; i < listing->snapshot_count; ++i) {
    const lamina_uuid* id = &listing->snapshots[i]->pause_id;
    if (memcmp(id, pause_id, sizeof *id) == 0) fate = "stored";
  }
  for (size_t i = 0; i < listing->pending_count; ++i) {
    const lamina_uuid* id = &listing->pending[i]->id;
    if (memcmp(id, pause_id, sizeof *id) == 0) fate = "queued in the store";
  }
  char text[LAMINA_UUID_TEXT_SIZE];
  if (fate != NULL && lamina_uuid_format(pause_id, text, NULL) == LAMINA_OK) {
    printf("the state %s is %s\n", text, fate);
  }
  lamina_free(listing);
}

/* The disks are captured here: memory and disk must be of the same moment. */
static int while_frozen(void* context) {
  const char* name = context;
  printf("%s is frozen\n", name);
  return 0;
}

static lamina_code pause_vm(lamina_store* store, char* name, const char* socket,
                            lamina_after_pause after) {
  const lamina_error* error = NULL;
  const lamina_pause_report* paused = NULL;
  /* A platform writes this id to its database before it pauses the VM. */
  lamina_uuid pause_id;
  lamina_code code = lamina_uuid_random(&pause_id, &error);
  if (code != LAMINA_OK) return report(code, error);
  lamina_vmm vmm = {.struct_size = sizeof vmm};
  vmm.api_socket = socket;
  lamina_pause_options options = {.struct_size = sizeof options};
  options.vmm = &vmm;
  options.name = name;
  options.after = after;
  options.pause_id = &pause_id;
  options.while_frozen = while_frozen;
  options.context = name;
  int attempts = 0;
  do {
    code = lamina_pause(store, &options, &paused, &error);
  } while (is_to_be_repeated(code, &error, &attempts));
  if (code != LAMINA_OK) {
    print_fate(store, &pause_id);
    return report(code, error);
  }
  print_notes(paused->notes, paused->note_count);
  printf("%s: %s, %" PRIu64 " bytes stored\n", paused->snapshot, paused->is_diff ? "diff" : "full",
         paused->stored_bytes);
  lamina_free(paused);
  return LAMINA_OK;
}

static lamina_code resume_vm(lamina_store* store, const char* directory, const char* name,
                             const char* socket) {
  const lamina_error* error = NULL;
  const lamina_resume_report* resumed = NULL;
  lamina_vmm vmm = {.struct_size = sizeof vmm};
  vmm.api_socket = socket;
  /* The page server is a process of its own: the VM does not depend on this one. */
  const char* const page_server[] = {"lamina", "serve", "--store", directory};
  lamina_resume_options options = {.struct_size = sizeof options};
  options.vmm = &vmm;
  options.name = name;
  options.page_server_command = page_server;
  options.page_server_argument_count = sizeof page_server / sizeof *page_server;
  lamina_code code = LAMINA_OK;
  int attempts = 0;
  do {
    code = lamina_resume(store, &options, &resumed, &error);
  } while (is_to_be_repeated(code, &error, &attempts));
  if (code != LAMINA_OK) return report(code, error);
  print_notes(resumed->notes, resumed->note_count);
  printf("%s: process %" PRId32 " runs on, by %s\n", resumed->snapshot, resumed->pid,
         resumed->mode == LAMINA_RESUME_FILE ? "a file" : "page faults");
  lamina_free(resumed);
  return LAMINA_OK;
}

/* The clone runs before the state is on the disk. */
static lamina_code fork_vm(lamina_store* store, const char* directory, const char* name,
                           const char* socket, const char* clone_socket) {
  const lamina_error* error = NULL;
  const lamina_live_fork_report* forked = NULL;
  const char* const page_server[] = {"lamina", "serve", "--store", directory};
  lamina_vmm vmm = {.struct_size = sizeof vmm};
  vmm.api_socket = socket;
  lamina_vmm clone = {.struct_size = sizeof clone};
  clone.api_socket = clone_socket;
  const lamina_vmm* const clones[] = {&clone};
  lamina_pause_options pause = {.struct_size = sizeof pause};
  pause.vmm = &vmm;
  pause.name = name;
  pause.after = LAMINA_AFTER_RESUME;
  lamina_resume_options resume = {.struct_size = sizeof resume};
  resume.page_server_command = page_server;
  resume.page_server_argument_count = sizeof page_server / sizeof *page_server;
  lamina_live_fork_options options = {.struct_size = sizeof options};
  options.pause = &pause;
  options.resume = &resume;
  options.clones = clones;
  options.clone_count = 1;
  lamina_code code = lamina_live_fork(store, &options, &forked, &error);
  if (code != LAMINA_OK) return report(code, error);
  print_notes(forked->notes, forked->note_count);
  const lamina_live_clone* made = forked->clones[0];
  if (made->error != NULL) {
    fprintf(stderr, "sandbox: %s: %s\n", made->api_socket, made->error->message);
    code = made->error->code;
  } else {
    printf("%s: process %" PRId32 " runs as clone %" PRIu64 "\n", made->api_socket,
           made->resumed->pid, made->resumed->clone_number);
  }
  printf("%s: %s\n", forked->pause->snapshot, forked->pause->is_diff ? "diff" : "full");
  lamina_free(forked);
  return code;
}

static lamina_code merge_layers(lamina_store* store, const char* name) {
  const lamina_error* error = NULL;
  const lamina_compact_report* compacted = NULL;
  lamina_compact_options options = {.struct_size = sizeof options};
  options.snapshot = name;
  options.background = 1;
  const lamina_code code = lamina_compact(store, &options, &compacted, &error);
  if (code != LAMINA_OK) return report(code, error);
  printf("%s: %" PRIu32 " layers, then %" PRIu32 "\n", name, compacted->layers_before,
         compacted->layers_after);
  lamina_free(compacted);
  return LAMINA_OK;
}

static lamina_code run(lamina_store* store, char** arguments) {
  const lamina_error* error = NULL;
  const lamina_recover_report* recovered = NULL;
  const char* command = arguments[3];
  /* Whatever was killed before, power failures included, is finished or removed first. */
  lamina_code code = lamina_recover(store, NULL, &recovered, &error);
  if (code != LAMINA_OK) return report(code, error);
  print_notes(recovered->notes, recovered->note_count);
  lamina_free(recovered);
  if (strcmp(command, "resume") == 0) {
    return resume_vm(store, arguments[0], arguments[1], arguments[2]);
  }
  if (strcmp(command, "fork") == 0) {
    return fork_vm(store, arguments[0], arguments[1], arguments[2], arguments[4]);
  }
  if (strcmp(command, "pause") == 0) {
    return pause_vm(store, arguments[1], arguments[2], LAMINA_AFTER_STOP);
  }
  code = pause_vm(store, arguments[1], arguments[2], LAMINA_AFTER_RESUME);
  return code == LAMINA_OK ? merge_layers(store, arguments[1]) : code;
}

int main(int argc, char** argv) {
  const char* command = argc == 5 || argc == 6 ? argv[4] : "";
  const int is_fork = strcmp(command, "fork") == 0;
  const int is_known = is_fork || strcmp(command, "pause") == 0 ||
                       strcmp(command, "checkpoint") == 0 || strcmp(command, "resume") == 0;
  if (!is_known || (argc == 6) != is_fork) {
    fprintf(stderr,
            "usage: sandbox STORE NAME SOCKET pause|checkpoint|resume, or fork CLONE (lamina %s)\n",
            lamina_version());
    return 2;
  }
  const lamina_error* error = NULL;
  lamina_store* store = NULL;
  lamina_code code = lamina_store_open(argv[1], &store, &error);
  if (code != LAMINA_OK) {
    report(code, error);
    return 1;
  }
  code = run(store, argv + 1);
  lamina_store_close(store);
  return code != LAMINA_OK;
}
