// A store that is used through the C interface.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "lamina.h"
#include "scratch_directory.h"

namespace lamina::capi {

/// Options with their size, and nothing else.
template <typename Options>
Options sized() {
  Options options{};
  options.struct_size = sizeof options;
  return options;
}

inline constexpr std::size_t kBytesOfBlock = 4096;
inline constexpr std::size_t kBlocksOfMemory = 32;

inline std::vector<std::byte> random_memory(unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::byte> bytes(kBlocksOfMemory * kBytesOfBlock);
  std::generate_n(bytes.begin(), bytes.size() / 2, [&] { return std::byte(random()); });
  return bytes;
}

/// The code, message and remedy of a failed call; the error is freed.
struct Failure {
  lamina_code code = LAMINA_OK;
  std::string message;
  std::string remedy;
};

template <typename Call>
Failure failure_of(Call call) {
  const lamina_error* error = nullptr;
  const lamina_code code = call(&error);
  EXPECT_EQ(code == LAMINA_OK, error == nullptr);
  Failure failure{.code = code, .message = {}, .remedy = {}};
  if (error != nullptr) {
    EXPECT_EQ(error->struct_size, sizeof(lamina_error));
    EXPECT_EQ(error->code, code);
    failure.message = error->message;
    failure.remedy = error->remedy;
    lamina_free(error);
  }
  return failure;
}

class CApiTest : public testing::Test {
 protected:
  CApiTest() {
    std::filesystem::create_directory(directory_.path() / "store");
    const lamina_error* error = nullptr;
    EXPECT_EQ(lamina_store_open(store_path().c_str(), &store_, &error), LAMINA_OK)
        << error->message;
  }
  ~CApiTest() override { EXPECT_EQ(lamina_store_close(store_), LAMINA_OK); }

  [[nodiscard]] std::string store_path() const { return directory_.file("store"); }
  [[nodiscard]] std::string path_of(const std::string& name) const {
    return store_path() + "/" + name;
  }

  std::string write_file(const std::string& name, const std::vector<std::byte>& bytes) {
    const std::string path = directory_.file(name);
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
    return path;
  }

  /// A key file of one digit.
  std::string write_key(const std::string& name, char digit) {
    constexpr std::size_t kDigits = 64;
    const std::string path = directory_.file(name);
    std::ofstream(path) << std::string(kDigits, digit) << "\n";
    std::filesystem::permissions(path, std::filesystem::perms::owner_read);
    return path;
  }

  void ingest(const std::string& name, const std::vector<std::byte>& memory,
              const char* parent = nullptr) {
    auto options = sized<lamina_ingest_options>();
    options.memory = memory.data();
    options.memory_bytes = memory.size();
    options.snapshot = name.c_str();
    options.parent = parent;
    options.kind = LAMINA_KIND_FULL;
    const lamina_error* error = nullptr;
    ASSERT_EQ(lamina_ingest(store_, &options, nullptr, &error), LAMINA_OK) << error->message;
  }

  /// LAMINA_UNSUPPORTED without LAMINA_REMOTE.
  lamina_code push(const std::string& url, const std::string& name) {
    auto options = sized<lamina_push_options>();
    options.url = url.c_str();
    options.snapshot = name.c_str();
    return lamina_push(store_, &options, nullptr, nullptr);
  }

  void expect_memory(const std::string& name, const std::vector<std::byte>& expected) {
    lamina_reader* reader = nullptr;
    ASSERT_EQ(lamina_reader_open(store_, name.c_str(), &reader, nullptr), LAMINA_OK);
    std::vector<std::byte> bytes(expected.size());
    EXPECT_EQ(lamina_reader_read(reader, 0, bytes.data(), bytes.size(), nullptr), LAMINA_OK);
    EXPECT_TRUE(bytes == expected) << name;
    EXPECT_EQ(lamina_reader_close(reader), LAMINA_OK);
  }

  tests::ScratchDirectory directory_;
  lamina_store* store_ = nullptr;
};

}  // namespace lamina::capi
