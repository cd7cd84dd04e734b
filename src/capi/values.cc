// Versions, codes, UUIDs and progress.
#include <algorithm>
#include <cstring>

#include "capi/call.h"
#include "lamina/version.h"

namespace lamina::capi {
namespace {

std::unexpected<Error> null_argument(std::string_view name) {
  return fail(ErrorKind::kUsage, "{} is null", name);
}

}  // namespace
}  // namespace lamina::capi

using lamina::Error;
using lamina::ErrorKind;
using lamina::Status;
using lamina::Uuid;
using namespace lamina::capi;

const char* lamina_version(void) { return lamina::version(); }
const char* lamina_version_commit(void) { return lamina::version_commit(); }

const char* lamina_code_name(lamina_code code) {
  if (code == LAMINA_OK) return "ok";
  for (const lamina::Word<ErrorKind>& word : lamina::kWords<ErrorKind>) {
    if (code_of(word.value) == code) return word.text.data();  // of a string literal
  }
  return "unknown";
}

lamina_code lamina_uuid_random(lamina_uuid* id, const lamina_error** error) {
  return call("make a UUID", error, [&]() -> Status {
    if (id == nullptr) return null_argument("id");
    const Uuid made = Uuid::random();
    std::memcpy(id->bytes, made.bytes.data(), sizeof id->bytes);
    return {};
  });
}

lamina_code lamina_uuid_parse(const char* text, lamina_uuid* id, const lamina_error** error) {
  return call("read a UUID", error, [&]() -> Status {
    if (id == nullptr) return null_argument("id");
    *id = {};
    if (text == nullptr) return null_argument("text");
    LAMINA_ASSIGN_OR_RETURN(const Uuid parsed, Uuid::parse(text));
    std::memcpy(id->bytes, parsed.bytes.data(), sizeof id->bytes);
    return {};
  });
}

lamina_code lamina_uuid_format(const lamina_uuid* id, char text[LAMINA_UUID_TEXT_SIZE],
                               const lamina_error** error) {
  return call("write a UUID", error, [&]() -> Status {
    if (text == nullptr) return null_argument("text");
    if (id == nullptr) return null_argument("id");
    const std::string made = OptionReader::id(id)->to_string();
    std::memcpy(text, made.c_str(), LAMINA_UUID_TEXT_SIZE);
    return {};
  });
}

lamina_code lamina_progress_open(lamina_progress** progress, const lamina_error** error) {
  return call("open a progress", error, [&]() -> Status {
    if (progress == nullptr) return null_argument("progress");
    *progress = nullptr;
    *progress = add_handle(std::make_shared<SharedProgress>());
    return {};
  });
}

lamina_code lamina_progress_cancel(lamina_progress* progress, const lamina_error** error) {
  return call("cancel", error, [&]() -> Status {
    LAMINA_ASSIGN_OR_RETURN(const auto found, object_of(progress));
    found->cancel();
    return {};
  });
}

lamina_code lamina_progress_get(lamina_progress* progress, lamina_progress_state* state,
                                const lamina_error** error) {
  return call("get the progress", error, [&]() -> Status {
    if (state == nullptr) return null_argument("state");
    const std::size_t size = state->struct_size;
    if (size < sizeof size) {
      return lamina::with_remedy(
          lamina::fail(ErrorKind::kUsage, "lamina_progress_state: struct_size is {}, not {}", size,
                       sizeof *state),
          "set struct_size to sizeof(lamina_progress_state)");
    }
    LAMINA_ASSIGN_OR_RETURN(const auto found, object_of(progress));
    lamina_progress_state made = found->state();
    made.struct_size = std::min(size, sizeof made);
    std::memcpy(state, &made, made.struct_size);
    return {};
  });
}

lamina_code lamina_progress_close(lamina_progress* progress) {
  return call("close a progress", nullptr, [&] { return remove_handle(progress); });
}
