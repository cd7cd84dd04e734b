// The operations on a store.
#include "lamina/store.h"

#include <algorithm>
#include <cstddef>
#include <span>

#include "capi/call.h"
#include "lamina/compact.h"
#include "lamina/inspect.h"
#include "lamina/listing.h"

namespace lamina::capi {
namespace {

std::unexpected<Error> is_null(std::string_view name) {
  return fail(ErrorKind::kUsage, "{} is null", name);
}

Result<StoreListing> list(const lamina_store* handle, const char* path,
                          const ListOptions& options) {
  if (handle == nullptr) {
    if (path == nullptr) {
      return with_remedy(fail(ErrorKind::kUsage, "there is neither a store nor a path"),
                         "set `path`");
    }
    return list_store(path, options);
  }
  if (path != nullptr) {
    return fail(ErrorKind::kUsage, "there is a store, and a path '{}' besides", path);
  }
  LAMINA_ASSIGN_OR_RETURN(const auto store, object_of(handle));
  return store->list(options);
}

}  // namespace
}  // namespace lamina::capi

using lamina::ErrorKind;
using lamina::Result;
using lamina::Status;
using namespace lamina::capi;

lamina_code lamina_store_open(const char* path, lamina_store** store, const lamina_error** error) {
  return call("open the store", error, [&]() -> Status {
    if (store == nullptr) return is_null("store");
    *store = nullptr;
    if (path == nullptr) return is_null("path");
    LAMINA_ASSIGN_OR_RETURN(lamina::Store opened, lamina::Store::open(path));
    *store = add_handle(std::make_shared<const lamina::Store>(std::move(opened)));
    return {};
  });
}

lamina_code lamina_store_notes(lamina_store* store, const lamina_lines** notes,
                               const lamina_error** error) {
  if (notes != nullptr) *notes = nullptr;
  return call("get the notes", error, [&]() -> Status {
    LAMINA_ASSIGN_OR_RETURN(const auto found, object_of(store));
    return pass_on(Result<std::vector<std::string>>(found->notes()), notes);
  });
}

lamina_code lamina_store_close(lamina_store* store) {
  return call("close the store", nullptr, [&] { return remove_handle(store); });
}

lamina_code lamina_ingest(lamina_store* store, const lamina_ingest_options* options,
                          const lamina_ingest_report** report, const lamina_error** error) {
  return call("ingest", "lamina_ingest_options", options, report, error,
              [&](lamina::IngestOptions given) -> Result<lamina::IngestReport> {
                LAMINA_ASSIGN_OR_RETURN(const auto found, object_of(store));
                return found->ingest(std::move(given));
              });
}

lamina_code lamina_merge(lamina_store* store, const lamina_merge_options* options,
                         const lamina_merge_report** report, const lamina_error** error) {
  return call("merge", "lamina_merge_options", options, report, error,
              [&](lamina::MergeOptions given) -> Result<lamina::MergeReport> {
                LAMINA_ASSIGN_OR_RETURN(const auto found, object_of(store));
                return found->merge(std::move(given));
              });
}

lamina_code lamina_compact(lamina_store* store, const lamina_compact_options* options,
                           const lamina_compact_report** report, const lamina_error** error) {
  return call("compact", "lamina_compact_options", options, report, error,
              [&](lamina::CompactOptions given) -> Result<lamina::CompactReport> {
                LAMINA_ASSIGN_OR_RETURN(const auto found, object_of(store));
                return found->compact(std::move(given));
              });
}

lamina_code lamina_hard_layer_limit(const char* policy, uint32_t* layers,
                                    const lamina_error** error) {
  if (layers != nullptr) *layers = 0;
  return call("read the policy", error, [&]() -> Status {
    LAMINA_ASSIGN_OR_RETURN(
        const std::uint32_t limit,
        lamina::hard_layer_limit(policy == nullptr ? lamina::kDefaultMergePolicy : policy));
    if (layers != nullptr) *layers = limit;
    return {};
  });
}

lamina_code lamina_materialize(lamina_store* store, const lamina_materialize_options* options,
                               const lamina_materialize_report** report,
                               const lamina_error** error) {
  return call("materialize", "lamina_materialize_options", options, report, error,
              [&](lamina::MaterializeOptions given) -> Result<lamina::MaterializeReport> {
                LAMINA_ASSIGN_OR_RETURN(const auto found, store_or_path(store, given.snapshot));
                return found ? found->materialize(std::move(given)) : lamina::materialize(given);
              });
}

lamina_code lamina_verify(lamina_store* store, const lamina_verify_options* options,
                          const lamina_verify_report** report, const lamina_error** error) {
  return call("verify", "lamina_verify_options", options, report, error,
              [&](lamina::VerifyOptions given) -> Result<lamina::VerifyReport> {
                LAMINA_ASSIGN_OR_RETURN(const auto found, store_or_path(store, given.snapshot));
                return found ? found->verify(std::move(given)) : lamina::verify(given);
              });
}

lamina_code lamina_inspect(lamina_store* store, const char* snapshot,
                           const lamina_snapshot_info** info, const lamina_error** error) {
  if (info != nullptr) *info = nullptr;
  return call("inspect", error, [&]() -> Status {
    if (snapshot == nullptr) return is_null("snapshot");
    LAMINA_ASSIGN_OR_RETURN(const auto found, store_or_path(store, snapshot));
    return pass_on(found ? found->inspect(snapshot) : lamina::inspect(snapshot), info);
  });
}

lamina_code lamina_reader_open(lamina_store* store, const char* snapshot, lamina_reader** reader,
                               const lamina_error** error) {
  return call("open the snapshot", error, [&]() -> Status {
    if (reader == nullptr) return is_null("reader");
    *reader = nullptr;
    if (snapshot == nullptr) return is_null("snapshot");
    LAMINA_ASSIGN_OR_RETURN(const auto found, store_or_path(store, snapshot));
    LAMINA_ASSIGN_OR_RETURN(lamina::SnapshotReader opened,
                            found ? found->read(snapshot) : lamina::SnapshotReader::open(snapshot));
    *reader = add_handle(std::make_shared<const lamina::SnapshotReader>(std::move(opened)));
    return {};
  });
}

lamina_code lamina_reader_read(lamina_reader* reader, uint64_t offset_bytes, void* buffer,
                               size_t length, const lamina_error** error) {
  return call("read the memory", error, [&]() -> Status {
    LAMINA_ASSIGN_OR_RETURN(const auto found, object_of(reader));
    if (buffer == nullptr && length != 0) return is_null("buffer");
    return found->read(offset_bytes, std::span(static_cast<std::byte*>(buffer), length));
  });
}

lamina_code lamina_reader_memory_bytes(lamina_reader* reader, uint64_t* memory_bytes,
                                       const lamina_error** error) {
  if (memory_bytes != nullptr) *memory_bytes = 0;
  return call("get the size of the memory", error, [&]() -> Status {
    LAMINA_ASSIGN_OR_RETURN(const auto found, object_of(reader));
    if (memory_bytes != nullptr) *memory_bytes = found->memory_bytes();
    return {};
  });
}

lamina_code lamina_reader_info(lamina_reader* reader, const lamina_snapshot_info** info,
                               const lamina_error** error) {
  if (info != nullptr) *info = nullptr;
  return call("describe the snapshot", error, [&]() -> Status {
    LAMINA_ASSIGN_OR_RETURN(const auto found, object_of(reader));
    return pass_on(Result<lamina::SnapshotInfo>(found->info()), info);
  });
}

lamina_code lamina_reader_close(lamina_reader* reader) {
  return call("close the snapshot", nullptr, [&] { return remove_handle(reader); });
}

lamina_code lamina_list(lamina_store* store, const lamina_list_options* options,
                        const lamina_listing** listing, const lamina_error** error) {
  if (listing != nullptr) *listing = nullptr;
  return call("list the store", error, [&]() -> Status {
    LAMINA_ASSIGN_OR_RETURN(const lamina_list_options given,
                            read_struct("lamina_list_options", options));
    OptionReader reader;
    const lamina::ListOptions converted = convert(reader, given);
    LAMINA_RETURN_IF_ERROR(reader.status());
    return pass_on(list(store, given.path, converted), listing);
  });
}

lamina_code lamina_freed_by_removing(const lamina_listing* listing, const size_t* indices,
                                     size_t index_count, uint64_t* freed_bytes,
                                     const lamina_error** error) {
  if (freed_bytes != nullptr) *freed_bytes = 0;
  return call("add up what would be freed", error, [&]() -> Status {
    using HeldListing = HeldReport<lamina_listing, lamina::StoreListing>;
    const auto held = std::dynamic_pointer_cast<HeldListing>(kept(listing));
    if (!held) {
      return lamina::fail(ErrorKind::kUsage, "listing is not one of lamina_list(), or was freed");
    }
    if (indices == nullptr && index_count != 0) return is_null("indices");
    const std::vector<std::size_t> chosen(indices, indices + index_count);
    const std::size_t count = held->report().snapshots.size();
    for (const std::size_t index : chosen) {
      if (index >= count) {
        return lamina::fail(ErrorKind::kUsage, "index {} is too large: there are {} snapshots",
                            index, count);
      }
    }
    if (freed_bytes != nullptr) {
      *freed_bytes = lamina::freed_by_removing(held->report(), chosen);
    }
    return {};
  });
}

lamina_code lamina_repair(lamina_store* store, const char* snapshot,
                          const lamina_repair_report** report, const lamina_error** error) {
  if (report != nullptr) *report = nullptr;
  return call("repair", error, [&]() -> Status {
    LAMINA_ASSIGN_OR_RETURN(const auto found, object_of(store));
    if (snapshot == nullptr) return is_null("snapshot");
    return pass_on(found->repair(snapshot), report);
  });
}

lamina_code lamina_fork(lamina_store* store, const lamina_fork_options* options,
                        const lamina_fork_report** report, const lamina_error** error) {
  return call("fork", "lamina_fork_options", options, report, error,
              [&](lamina::ForkOptions given) -> Result<lamina::ForkReport> {
                LAMINA_ASSIGN_OR_RETURN(const auto found, object_of(store));
                return found->fork(std::move(given));
              });
}

lamina_code lamina_remove(lamina_store* store, const lamina_remove_options* options,
                          const lamina_remove_report** report, const lamina_error** error) {
  return call("remove", "lamina_remove_options", options, report, error,
              [&](lamina::RemoveOptions given) -> Result<lamina::RemoveReport> {
                LAMINA_ASSIGN_OR_RETURN(const auto found, object_of(store));
                return found->remove(std::move(given));
              });
}

lamina_code lamina_pack(lamina_store* store, const lamina_pack_options* options,
                        const lamina_pack_report** report, const lamina_error** error) {
  return call("pack", "lamina_pack_options", options, report, error,
              [&](lamina::PackOptions given) -> Result<lamina::PackReport> {
                LAMINA_ASSIGN_OR_RETURN(const auto found, store_or_path(store, given.snapshot));
                return found ? found->pack(std::move(given)) : lamina::pack_snapshot(given);
              });
}

lamina_code lamina_unpack(lamina_store* store, const lamina_unpack_options* options,
                          const lamina_unpack_report** report, const lamina_error** error) {
  return call("unpack", "lamina_unpack_options", options, report, error,
              [&](lamina::UnpackOptions given) -> Result<lamina::UnpackReport> {
                LAMINA_ASSIGN_OR_RETURN(const auto found, object_of(store));
                return found->unpack(std::move(given));
              });
}
