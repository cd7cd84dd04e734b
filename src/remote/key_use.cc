#include "remote/key_use.h"

#include <map>
#include <optional>
#include <set>
#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "packed/keyring.h"
#include "remote/requests.h"

namespace lamina::remote {
namespace {

using object_store::Answer;

constexpr const char* kCommandKeyName = "command";

object_store::Request keyring_request(const PublicPart& part) {
  object_store::Request request =
      get_request(record_key(part.record.place), part.layout.keyring_bytes);
  request.range = {part.layout.public_bytes, part.layout.keyring_bytes};
  return request;
}

/// Fails as read_keyed_records() says.
Result<KeyedRecord> with_keyring(Bucket& bucket, KeyedRecord keyed, Answer answer) {
  const std::string key = record_key(keyed.record().place);
  const Status status = strict_status(answer);
  if (!status) {
    if (status.error().kind == ErrorKind::kNotFound) return std::unexpected(bucket.absence_of(key));
    return std::unexpected(status.error());
  }
  const auto facts = packed::keyring_facts(answer.bytes);
  if (!facts) {
    return std::unexpected(with_context(fmt::format("record '{}'", key), facts.error()));
  }
  keyed.keyring = std::move(answer.bytes);
  keyed.key_name = name_of_key(facts->algorithm, facts->key_id);
  return keyed;
}

/// Adds states up by their keys.
class KeyTable {
 public:
  void add(const KeyedRecord& keyed, bool is_newest) {
    RemoteKeyUse& use = uses_[keyed.key_name];
    use.key_id = keyed.key_name;
    const Record& record = keyed.record();
    KeyedState state;
    state.name = record.place.name;
    state.number = record.place.number;
    state.is_newest = is_newest;
    state.objects = static_cast<std::uint32_t>(record.references.size());
    state.stored_bytes = record.referenced_bytes();
    use.states.push_back(std::move(state));
    if (is_newest) ++use.newest_states;
    for (const Reference& reference : record.references) {
      if (!seen_[keyed.key_name].insert(reference.key).second) continue;
      ++use.objects;
      use.object_bytes += reference.size_bytes;
    }
  }

  std::vector<RemoteKeyUse> take(const std::string& given) {
    std::vector<RemoteKeyUse> keys;
    keys.reserve(uses_.size());
    for (auto& [name, use] : uses_) {
      use.is_given = !given.empty() && name == given;
      keys.push_back(std::move(use));
    }
    return keys;
  }

 private:
  std::map<std::string, RemoteKeyUse> uses_;
  std::map<std::string, std::set<std::string>> seen_;
};

Result<RemoteKeysReport> keys_of(Bucket& bucket, const RemoteKeysOptions& options,
                                 const std::string& given) {
  RemoteKeysReport report;
  LAMINA_ASSIGN_OR_RETURN(const RecordList list, list_all_records(bucket));
  auto read = read_keyed_records(bucket, list.records);
  KeyTable table;
  std::vector<KeyedRecord> same_name;
  const auto add_name = [&] {
    const std::size_t newest = place_of_newest(same_name);
    for (std::size_t i = 0; i < same_name.size(); ++i) {
      if (same_name[i].record().is_manifest()) table.add(same_name[i], i == newest);
    }
    same_name.clear();
  };
  for (std::size_t i = 0; i < read.size(); ++i) {
    if (i > 0 && list.records[i].place.name != list.records[i - 1].place.name) add_name();
    if (read[i]) {
      same_name.push_back(std::move(*read[i]));
    } else if (read[i].error().kind != ErrorKind::kNotFound) {
      report.problems.push_back(one_line(read[i].error()));
    }
  }
  add_name();
  if (options.progress != nullptr && options.progress->interrupted()) {
    return fail(ErrorKind::kInterrupted, "interrupted");
  }
  report.keys = table.take(given);
  return report;
}

}  // namespace

std::string name_of_key(packed::WrapAlgorithm algorithm, const std::string& key_id) {
  return algorithm == packed::WrapAlgorithm::kCommand ? kCommandKeyName : key_id;
}

std::vector<Result<KeyedRecord>> read_keyed_records(Bucket& bucket,
                                                    const std::vector<ListedRecord>& records) {
  std::vector<Result<PublicPart>> parts = read_public_parts(bucket, records);
  std::vector<object_store::Request> requests;
  for (const Result<PublicPart>& part : parts) {
    if (part && part->layout.keyring_bytes > 0) requests.push_back(keyring_request(*part));
  }
  std::vector<Answer> answers = run_all(bucket, std::move(requests));
  std::vector<Result<KeyedRecord>> read;
  read.reserve(parts.size());
  std::size_t next = 0;
  for (Result<PublicPart>& part : parts) {
    if (!part) {
      read.emplace_back(std::unexpected(std::move(part.error())));
      continue;
    }
    KeyedRecord keyed{std::move(*part), {}, {}};
    const bool is_sealed = keyed.part.layout.keyring_bytes > 0;
    read.push_back(is_sealed ? with_keyring(bucket, std::move(keyed), std::move(answers[next++]))
                             : Result<KeyedRecord>(std::move(keyed)));
  }
  return read;
}

std::size_t place_of_newest(std::span<const KeyedRecord> records) {
  std::size_t newest = records.size();
  for (std::size_t i = 0; i < records.size(); ++i) {
    if (records[i].record().is_state()) newest = i;
  }
  return newest;
}

Result<RemoteKeysReport> list_keys(object_store::ObjectStore& bucket,
                                   const RemoteKeysOptions& options,
                                   const packed::KeyWrapper* given) {
  return contain("list", [&] {
    Bucket store(bucket, options.progress);
    return keys_of(store, options,
                   given == nullptr ? "" : name_of_key(given->algorithm(), given->key_id()));
  });
}

}  // namespace lamina::remote
