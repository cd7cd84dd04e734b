#include "scene.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/error.h"
#include "lamina/compact.h"
#include "lamina/fork.h"
#include "lamina/ingest.h"
#include "lamina/lifecycle.h"
#include "lamina/listing.h"
#include "lamina/materialize.h"
#include "lamina/merge.h"
#include "lamina/remove.h"
#include "lamina/repair.h"
#include "memory_files.h"
#include "os/directory.h"
#include "os/file.h"
#include "store/snapshot_directory.h"

namespace lamina::torture {
namespace {

// --- ingest

/// A memory file "memory" and nothing else; the store has never been used.
Status with_full_file(Stage& stage) {
  Memory memory = first_memory(stage);
  LAMINA_RETURN_IF_ERROR(write_full(stage.file("memory"), memory));
  stage.expected.target = "new";
  stage.expected.after = memory;
  return {};
}

Status with_full_file_to_adopt(Stage& stage) {
  LAMINA_RETURN_IF_ERROR(with_full_file(stage));
  stage.expected.memory_file = "memory";
  stage.expected.memory_file_contents = *stage.expected.after;
  return {};
}

Status with_full_file_to_consume(Stage& stage) {
  LAMINA_RETURN_IF_ERROR(with_full_file_to_adopt(stage));
  stage.expected.may_stay = true;
  return {};
}

/// A snapshot "base" and a diff to it, "memory", with a VM state.
Status with_diff(Stage& stage) {
  Memory memory = first_memory(stage);
  LAMINA_RETURN_IF_ERROR(add_full(stage, "base", memory));
  stage.expected.others["base"] = memory;
  const Pages dirty = change(memory, stage);
  LAMINA_RETURN_IF_ERROR(write_diff(stage.file("memory"), memory, dirty));
  LAMINA_RETURN_IF_ERROR(write_full(stage.file("state"), Memory(5000, 's')));
  stage.expected.target = "new";
  stage.expected.after = memory;
  return {};
}

Status with_diff_to_adopt(Stage& stage) {
  LAMINA_RETURN_IF_ERROR(with_diff(stage));
  LAMINA_ASSIGN_OR_RETURN(stage.expected.memory_file_contents, contents_of(stage.file("memory")));
  stage.expected.memory_file = "memory";
  stage.expected.holes_matter = true;
  return {};
}

/// Zeros that are written in the diff mean nothing.
Status with_diff_that_inherits(Stage& stage) {
  Memory memory = first_memory(stage);
  LAMINA_RETURN_IF_ERROR(add_full(stage, "base", memory));
  stage.expected.others["base"] = memory;
  Memory written = memory;
  const Pages dirty = change(written, stage);
  LAMINA_RETURN_IF_ERROR(write_diff(stage.file("memory"), written, dirty));
  for (const std::size_t page : dirty) {
    const std::size_t start = page * kPageBytes;
    const std::string contents = written.substr(start, kPageBytes);
    if (contents.find_first_not_of('\0') != std::string::npos) {
      memory.replace(start, contents.size(), contents);
    }
  }
  stage.expected.target = "new";
  stage.expected.after = memory;
  return {};
}

/// A diff to "vm" that takes its name.
Status with_diff_that_replaces(Stage& stage) {
  Memory memory = first_memory(stage);
  LAMINA_RETURN_IF_ERROR(add_full(stage, "base", memory));
  stage.expected.others["base"] = memory;
  LAMINA_RETURN_IF_ERROR(add_diff(stage, "vm", "base", memory, Layout::kAdopted));
  stage.expected.target = "vm";
  stage.expected.before = memory;
  const Pages dirty = change(memory, stage);
  LAMINA_RETURN_IF_ERROR(write_diff(stage.file("memory"), memory, dirty));
  stage.expected.after = memory;
  return {};
}

Status with_diff_that_replaces_adopting(Stage& stage) {
  LAMINA_RETURN_IF_ERROR(with_diff_that_replaces(stage));
  LAMINA_ASSIGN_OR_RETURN(stage.expected.memory_file_contents, contents_of(stage.file("memory")));
  stage.expected.memory_file = "memory";
  stage.expected.holes_matter = true;
  return {};
}

IngestOptions ingest_of(const Stage& stage, Layout layout) {
  IngestOptions options;
  options.memory_file = stage.file("memory");
  options.snapshot = stage.snapshot(stage.expected.target);
  options.layout = layout;
  return options;
}

Status ingest_compact(Stage& stage) {
  return status_of(ingest(ingest_of(stage, Layout::kCompact)));
}
Status ingest_adopting(Stage& stage) {
  return status_of(ingest(ingest_of(stage, Layout::kAdopted)));
}
Status ingest_diff(Stage& stage) {
  IngestOptions options = ingest_of(stage, Layout::kCompact);
  options.parent = stage.snapshot("base");
  options.vmstate_file = stage.file("state");
  return status_of(ingest(options));
}
Status ingest_diff_v1(Stage& stage) {
  IngestOptions options = ingest_of(stage, Layout::kCompact);
  options.parent = stage.snapshot("base");
  options.header = HeaderFormat::kV1;
  return status_of(ingest(options));
}
Status ingest_diff_adopting(Stage& stage) {
  IngestOptions options = ingest_of(stage, Layout::kAdopted);
  options.parent = stage.snapshot("base");
  options.vmstate_file = stage.file("state");
  return status_of(ingest(options));
}
Status ingest_inherit(Stage& stage) {
  IngestOptions options = ingest_of(stage, Layout::kCompact);
  options.parent = stage.snapshot("base");
  options.zeros = Zeros::kInherit;
  return status_of(ingest(options));
}
Status ingest_consuming(Stage& stage) {
  IngestOptions options = ingest_of(stage, Layout::kCompact);
  options.consume = true;
  return status_of(ingest(options));
}
Status replace_with(Stage& stage, Layout layout) {
  IngestOptions options = ingest_of(stage, layout);
  options.parent = stage.snapshot("vm");
  options.replace = true;
  return status_of(ingest(options));
}
Status replace_compact(Stage& stage) { return replace_with(stage, Layout::kCompact); }
Status replace_adopting(Stage& stage) { return replace_with(stage, Layout::kAdopted); }

// --- what works on a chain

/// base <- middle <- vm, and all that stays is `others`.
Status with_chain(Stage& stage) {
  Memory memory = first_memory(stage);
  LAMINA_RETURN_IF_ERROR(add_full(stage, "base", memory));
  stage.expected.others["base"] = memory;
  LAMINA_RETURN_IF_ERROR(add_diff(stage, "middle", "base", memory, Layout::kAdopted));
  stage.expected.others["middle"] = memory;
  LAMINA_RETURN_IF_ERROR(add_diff(stage, "vm", "middle", memory));
  stage.expected.target = "vm";
  stage.expected.before = stage.expected.after = memory;
  return {};
}

Status with_chain_to_merge(Stage& stage) {
  LAMINA_RETURN_IF_ERROR(with_chain(stage));
  stage.expected.repeatable = true;
  return {};
}

Status with_chain_to_copy(Stage& stage) {
  LAMINA_RETURN_IF_ERROR(with_chain(stage));
  stage.expected.others["vm"] = *stage.expected.before;
  stage.expected.before.reset();
  stage.expected.target = "new";
  return {};
}

Status merge_all(Stage& stage) {
  MergeOptions options;
  options.snapshot = stage.snapshot("vm");
  return status_of(merge(options));
}
Status merge_youngest(Stage& stage) {
  if (layer_count(stage.snapshot("vm")) == 1) return {};  // given again, and again
  MergeOptions options;
  options.snapshot = stage.snapshot("vm");
  options.layers = 2;
  return status_of(merge(options));
}
Status merge_out(Stage& stage) {
  MergeOptions options;
  options.snapshot = stage.snapshot("vm");
  options.out = stage.snapshot("new");
  return status_of(merge(options));
}
/// As `lamina compact --store` goes about it.
Status compact_store(Stage& stage) {
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> snapshots, snapshots_of(stage.store));
  for (const std::string& snapshot : snapshots) {
    CompactOptions options;
    options.snapshot = snapshot;
    options.policy = "tiered:soft=2";
    LAMINA_RETURN_IF_ERROR(compact(options));
  }
  return {};
}

Status with_chain_to_remove(Stage& stage) {
  LAMINA_RETURN_IF_ERROR(with_chain(stage));
  stage.expected.others["vm"] = *stage.expected.after;
  stage.expected.target = "middle";
  stage.expected.before = stage.expected.others.at("middle");
  stage.expected.others.erase("middle");
  stage.expected.after.reset();
  return {};
}
Status remove_middle(Stage& stage) {
  RemoveOptions options;
  options.snapshots = {stage.snapshot("middle")};
  LAMINA_ASSIGN_OR_RETURN(const RemoveReport report, remove_snapshots(options));
  const std::optional<Error>& error = report.snapshots.front().error;
  if (error) return std::unexpected(*error);
  return {};
}
Status fork(Stage& stage) {
  return status_of(fork_snapshot({stage.snapshot("vm"), stage.snapshot("new")}));
}

Status with_chain_to_materialize(Stage& stage) {
  LAMINA_RETURN_IF_ERROR(with_chain(stage));
  stage.expected.others["vm"] = *stage.expected.after;
  stage.expected.target.clear();
  stage.expected.out = "out";
  return {};
}
Status materialize_vm(Stage& stage) {
  MaterializeOptions options;
  options.snapshot = stage.snapshot("vm");
  options.out = stage.file("out");
  return status_of(materialize(options));
}

// --- repair

Status with_lost(Stage& stage, const std::vector<std::string>& names) {
  LAMINA_RETURN_IF_ERROR(with_chain_to_merge(stage));
  stage.expected.readable_before = false;
  for (const std::string& name : names) {
    const std::string path = stage.snapshot("vm") + "/" + name;
    if (::unlink(path.c_str()) != 0) return system_failure("unlink", path, errno);
  }
  return {};
}
Status with_lost_header(Stage& stage) { return with_lost(stage, {"memfile.header"}); }
Status with_lost_facts(Stage& stage) { return with_lost(stage, {"snapshot.json"}); }
Status with_lost_both(Stage& stage) {
  return with_lost(stage, {"memfile.header", "snapshot.json"});
}
Status repair_vm(Stage& stage) { return status_of(repair(stage.snapshot("vm"))); }

// --- the working set

Status save_working_set(Stage& stage) { return store_working_set(stage, "vm", 5); }
Status with_working_set(Stage& stage) {
  LAMINA_RETURN_IF_ERROR(with_chain_to_merge(stage));
  const std::string path = stage.snapshot("vm") + "/" + store::kWorkingSetName;
  LAMINA_RETURN_IF_ERROR(store_working_set(stage, "vm", 5));
  LAMINA_ASSIGN_OR_RETURN(const std::string later, contents_of(path));
  LAMINA_RETURN_IF_ERROR(store_working_set(stage, "vm", 1));
  LAMINA_ASSIGN_OR_RETURN(const std::string earlier, contents_of(path));
  stage.expected.working_sets = {earlier, later};
  return {};
}

// --- the life of a sandbox

PauseOptions pause_of(const Stage& stage, const std::string& name, AfterPause after) {
  PauseOptions options;
  options.vmm.api_socket = stage.vm.api_socket();
  options.store = stage.store;
  options.name = name;
  options.after = after;
  options.freeze_memory_bytes = 0;
  return options;
}

Status pause_vm(const Stage& stage, const std::string& name, AfterPause after) {
  return status_of(pause(pause_of(stage, name, after)));
}

/// A VM that runs and was never paused.
Status with_vm(Stage& stage) {
  LAMINA_RETURN_IF_ERROR(
      stage.vm.start(stage.fake_firecracker, stage.outside, {"--start", "--memory-mib", "1"}));
  stage.expected.target = "vm";
  return stage.vm.tell("run 60 1");
}

/// A VM that has been paused as "vm" and runs on.
Status with_paused_vm(Stage& stage) {
  LAMINA_RETURN_IF_ERROR(with_vm(stage));
  LAMINA_RETURN_IF_ERROR(pause_vm(stage, "base", AfterPause::kResume));
  LAMINA_ASSIGN_OR_RETURN(stage.expected.others["base"], memory_of(stage, stage.snapshot("base")));
  LAMINA_RETURN_IF_ERROR(stage.vm.tell("run 10 2"));
  LAMINA_RETURN_IF_ERROR(pause_vm(stage, "vm", AfterPause::kResume));
  LAMINA_ASSIGN_OR_RETURN(stage.expected.before, memory_of(stage, stage.snapshot("vm")));
  return stage.vm.tell("run 10 3");
}

Status pause_to_stop(Stage& stage) { return pause_vm(stage, "vm", AfterPause::kStop); }
Status pause_to_resume(Stage& stage) { return pause_vm(stage, "vm", AfterPause::kResume); }

/// The diff is written to tmpfs, which is not recorded, and is empty when a state is recovered: as
/// after a power failure.
Status pause_in_memory(Stage& stage) {
  PauseOptions options = pause_of(stage, "vm", AfterPause::kResume);
  options.freeze_memory_bytes = kFreezeMemoryShare;
  options.freeze_directory = stage.outside + "/freeze";
  LAMINA_ASSIGN_OR_RETURN(const PauseReport report, pause(options));
  if (report.place == PausePlace::kMemory) return {};
  return fail(ErrorKind::kFailed, "the diff was not written to memory: {}", report.place_reason);
}

/// A Firecracker without a VM, and a snapshot for it.
Status with_fresh_firecracker(Stage& stage) {
  LAMINA_RETURN_IF_ERROR(with_vm(stage));
  LAMINA_RETURN_IF_ERROR(pause_vm(stage, "vm", AfterPause::kStop));
  LAMINA_ASSIGN_OR_RETURN(stage.expected.others["vm"], memory_of(stage, stage.snapshot("vm")));
  stage.expected.target.clear();
  return stage.vm.start(stage.fake_firecracker, stage.outside, {});
}
Status resume_by_file(Stage& stage) {
  ResumeOptions options;
  options.vmm.api_socket = stage.vm.api_socket();
  options.store = stage.store;
  options.name = "vm";
  options.mode = ResumeMode::kFile;
  return status_of(resume(options));
}

}  // namespace

const std::vector<Scene>& all_scenes() {
  static const std::vector<Scene> scenes{
      {"ingest", "a full file, compact, into a new store", with_full_file, ingest_compact},
      {"ingest-consume", "the same, and the memory file is removed", with_full_file_to_consume,
       ingest_consuming},
      {"ingest-adopt", "a full file, adopted", with_full_file_to_adopt, ingest_adopting},
      {"ingest-diff", "a diff with a VM state, compact", with_diff, ingest_diff},
      {"ingest-diff-v1", "a diff, compact, header version 1", with_diff, ingest_diff_v1},
      {"ingest-diff-adopt", "a diff with a VM state, adopted", with_diff_to_adopt,
       ingest_diff_adopting},
      {"ingest-inherit", "a diff, --zeros inherit", with_diff_that_inherits, ingest_inherit},
      {"replace", "ingest --replace, compact", with_diff_that_replaces, replace_compact},
      {"replace-adopt", "ingest --replace, adopted", with_diff_that_replaces_adopting,
       replace_adopting},
      {"merge", "all layers", with_chain_to_merge, merge_all},
      {"merge-layers", "the two youngest layers", with_chain_to_merge, merge_youngest},
      {"merge-out", "all layers, into a new snapshot", with_chain_to_copy, merge_out},
      {"compact-store", "every snapshot of the store, by the policy", with_chain_to_merge,
       compact_store},
      {"rm", "a snapshot whose layers others link", with_chain_to_remove, remove_middle},
      {"fork", "a second name", with_chain_to_copy, fork},
      {"materialize", "one file", with_chain_to_materialize, materialize_vm},
      {"repair-header", "the header was lost", with_lost_header, repair_vm},
      {"repair-facts", "snapshot.json was lost", with_lost_facts, repair_vm},
      {"repair-both", "both were lost", with_lost_both, repair_vm},
      {"working-set", "a recorded working set is saved", with_working_set, save_working_set},
      {"pause", "the first pause of a VM, which ends", with_vm, pause_to_stop, true},
      {"pause-diff", "a diff, in its parent's place; the VM ends", with_paused_vm, pause_to_stop,
       true},
      {"checkpoint", "a diff, in its parent's place; the VM runs on", with_paused_vm,
       pause_to_resume, true},
      {"checkpoint-memory", "the same, and the diff is written to memory first", with_paused_vm,
       pause_in_memory, true},
      {"resume", "by file", with_fresh_firecracker, resume_by_file, true},
  };
  return scenes;
}

const Scene* find_scene(std::string_view name) {
  for (const Scene& scene : all_scenes()) {
    if (scene.name == name) return &scene;
  }
  return nullptr;
}

Result<Memory> memory_of(const Stage& stage, const std::string& snapshot) {
  MaterializeOptions options;
  options.snapshot = snapshot;
  options.out = stage.outside + "/materialized";
  LAMINA_RETURN_IF_ERROR(materialize(options));
  auto memory = contents_of(options.out);
  ::unlink(options.out.c_str());
  return memory;
}

Result<std::string> contents_of(const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile opened,
                          os::open_regular(AT_FDCWD, path, O_RDONLY, path));
  std::string contents(opened.facts.size_bytes, '\0');
  LAMINA_RETURN_IF_ERROR(
      os::read_exactly_at(opened.fd.get(), std::as_writable_bytes(std::span(contents)), 0, path));
  return contents;
}

std::size_t layer_count(const std::string& snapshot) {
  const auto directory = os::open_directory(AT_FDCWD, snapshot, snapshot);
  if (!directory) return 0;
  const auto names = os::list_directory(directory->get(), snapshot);
  if (!names) return 0;
  return static_cast<std::size_t>(std::count_if(
      names->begin(), names->end(),
      [](const std::string& name) { return store::parse_layer_file_name(name).has_value(); }));
}

}  // namespace lamina::torture
