// Keys: the cipher against a published vector, key files, key commands, keyrings.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <string>
#include <string_view>

#include "packed/aes_gcm.h"
#include "packed/keyring.h"
#include "packed/keys.h"
#include "packed/random_layer.h"
#include "scratch_directory.h"

namespace lamina::packed {
namespace {

using tests::ScratchDirectory;

constexpr const char* kHexKey = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";

std::vector<std::byte> from_hex(std::string_view hex) {
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<std::byte>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
  }
  return bytes;
}

bool are_equal(const DataKey& a, const DataKey& b) {
  return std::equal(a.bytes().begin(), a.bytes().end(), b.bytes().begin());
}

std::string write_key(const ScratchDirectory& scratch, const std::string& name,
                      const std::string& text, mode_t mode = 0600) {
  const std::string path = scratch.file(name);
  std::ofstream(path, std::ios::binary) << text;
  ::chmod(path.c_str(), mode);
  return path;
}

/// Test case 16 of "The Galois/Counter Mode of Operation" (McGrew and Viega).
TEST(AesGcmTest, IsThatOfThePublishedVector) {
  const auto key = from_hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
  const auto plain = from_hex(
      "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449"
      "a6b525b16aedf5aa0de657ba637b39");
  const auto associated = from_hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
  const auto nonce_bytes = from_hex("cafebabefacedbaddecaf888");
  const auto sealed = from_hex(
      "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056"
      "828838c5f61e6393ba7a0abcc9f662");
  const auto tag = from_hex("76fc6ece0f4e1768cddf8853bb2d551b");
  Nonce nonce{};
  std::copy(nonce_bytes.begin(), nonce_bytes.end(), nonce.begin());
  auto cipher = AesGcm::create(DataKey(std::span(key).first<DataKey::kBytes>()));
  ASSERT_TRUE(cipher);
  for (int round = 0; round < 2; ++round) {  // the cipher is used again and again
    auto data = plain;
    std::array<std::byte, kTagBytes> made{};
    ASSERT_TRUE(cipher->encrypt(nonce, associated, data, made));
    EXPECT_EQ(data, sealed);
    EXPECT_TRUE(std::equal(made.begin(), made.end(), tag.begin()));
    std::vector<std::byte> opened(data.size());
    ASSERT_TRUE(cipher->decrypt(nonce, associated, data, made, opened).value());
    EXPECT_EQ(opened, plain);
    made[15] ^= std::byte{1};
    EXPECT_FALSE(cipher->decrypt(nonce, associated, data, made, opened).value());
    EXPECT_EQ(opened, std::vector<std::byte>(data.size()));
  }
}

TEST(DataKeyTest, RandomKeysDiffer) {
  EXPECT_FALSE(are_equal(*DataKey::random(), *DataKey::random()));
  EXPECT_NE(key_of(1).check_value(), key_of(2).check_value());
}

TEST(KeyFile, HasTheBytesOrTheirDigits) {
  const ScratchDirectory scratch;
  const auto digits = read_key_file(write_key(scratch, "hex", kHexKey));
  const auto line = read_key_file(write_key(scratch, "line", std::string(kHexKey) + "\n"));
  std::string raw;
  for (char byte = 0; byte < 32; ++byte) raw.push_back(byte);
  const auto bytes = read_key_file(write_key(scratch, "raw", raw));
  ASSERT_TRUE(digits && line && bytes);
  EXPECT_EQ((*digits)->key_id(), (*bytes)->key_id());
  EXPECT_EQ((*line)->key_id(), (*bytes)->key_id());
  const auto other = read_key_file(write_key(scratch, "other", std::string(32, 'x')));
  ASSERT_TRUE(other);
  EXPECT_NE((*other)->key_id(), (*bytes)->key_id());
}

TEST(KeyFile, OtherContentsAreRefused) {
  const ScratchDirectory scratch;
  int number = 0;
  for (const std::string& text :
       {std::string(), std::string(31, 'a'), std::string(33, 'a'), std::string(64, 'g'),
        std::string(65, 'a'), std::string(63, 'a') + "\n", std::string(4000, 'a')}) {
    const auto key = read_key_file(write_key(scratch, std::to_string(number++), text));
    ASSERT_FALSE(key) << text.size();
    EXPECT_EQ(key.error().kind, ErrorKind::kUsage);
  }
  EXPECT_EQ(read_key_file(scratch.file("none")).error().kind, ErrorKind::kNotFound);
}

TEST(KeyFile, ThatOthersMayReadIsRefused) {
  const ScratchDirectory scratch;
  for (const mode_t mode : {0640U, 0604U, 0620U, 0644U}) {
    const auto key =
        read_key_file(write_key(scratch, std::to_string(mode), std::string(32, 'k'), mode));
    ASSERT_FALSE(key);
    EXPECT_EQ(key.error().kind, ErrorKind::kPermission);
    EXPECT_NE(key.error().remedy.find("chmod 600"), std::string::npos);
  }
}

class KeyringTest : public testing::Test {
 protected:
  KeyringTest() {
    first_ = std::move(*read_key_file(write_key(scratch_, "first", std::string(32, '1'))));
    second_ = std::move(*read_key_file(write_key(scratch_, "second", std::string(32, '2'))));
    keys_.emplace("v1/layers/a", key_of(1));
    keys_.emplace("v1/layers/b", key_of(2));
  }

  ScratchDirectory scratch_;
  std::unique_ptr<KeyWrapper> first_;
  std::unique_ptr<KeyWrapper> second_;
  ObjectKeys keys_;
};

void expect_keys(const Result<ObjectKeys>& opened, const ObjectKeys& keys) {
  ASSERT_TRUE(opened) << opened.error().message;
  ASSERT_EQ(opened->size(), keys.size());
  for (const auto& [name, key] : keys) EXPECT_TRUE(are_equal(opened->at(name), key)) << name;
}

TEST_F(KeyringTest, IsOpenedByTheKeyThatMadeIt) {
  const auto bytes = encode_keyring(keys_, *first_);
  ASSERT_TRUE(bytes) << bytes.error().message;
  expect_keys(open_keyring(*bytes, *first_), keys_);
  EXPECT_EQ(keyring_facts(*bytes)->key_id, first_->key_id());
}

TEST_F(KeyringTest, AnotherKeyIsNamedAsTheCause) {
  const auto bytes = encode_keyring(keys_, *first_);
  const auto opened = open_keyring(*bytes, *second_);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().kind, ErrorKind::kPermission);
  EXPECT_EQ(opened.error().message, "the keyring is for the key " + first_->key_id() +
                                        ", not for the key " + second_->key_id());
}

TEST_F(KeyringTest, ANewKeyOfTheTenantRewritesTheKeyringAlone) {
  const auto before = encode_keyring(keys_, *first_);
  const auto after = rewrap_keyring(*before, *first_, *second_);
  ASSERT_TRUE(after) << after.error().message;
  expect_keys(open_keyring(*after, *second_), keys_);
  EXPECT_FALSE(open_keyring(*after, *first_));
  EXPECT_FALSE(rewrap_keyring(*before, *second_, *first_));
}

TEST_F(KeyringTest, EveryFlippedBitIsFound) {
  auto bytes = *encode_keyring(keys_, *first_);
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    const auto flip = static_cast<std::byte>(1U << (bit % 8));
    bytes[bit / 8] ^= flip;
    ASSERT_FALSE(open_keyring(bytes, *first_)) << bit / 8;
    bytes[bit / 8] ^= flip;
  }
}

TEST_F(KeyringTest, EveryTruncationIsFound) {
  const auto bytes = *encode_keyring(keys_, *first_);
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    ASSERT_FALSE(open_keyring(std::span(bytes).first(length), *first_)) << length;
    ASSERT_FALSE(open_keyring(std::span(bytes).last(length), *first_)) << length;
  }
}

TEST_F(KeyringTest, ACommandWrapsAndUnwrapsOnce) {
  const std::string log = scratch_.file("log");
  const auto command = make_key_command("echo \"$LAMINA_KEY_OPERATION\" >> '" + log + "'; cat");
  const auto bytes = encode_keyring(keys_, *command);
  ASSERT_TRUE(bytes) << bytes.error().message;
  expect_keys(open_keyring(*bytes, *command), keys_);
  std::ifstream stream(log);
  const std::string said((std::istreambuf_iterator<char>(stream)),
                         std::istreambuf_iterator<char>());
  EXPECT_EQ(said, "wrap\nunwrap\n");
  EXPECT_EQ(open_keyring(*bytes, *first_).error().kind, ErrorKind::kPermission);
}

TEST_F(KeyringTest, WhatIsWrongWithACommandIsSaid) {
  const auto error_of = [&](const char* command) {
    const auto wrapper = make_key_command(command);
    const auto bytes = encode_keyring(keys_, *wrapper);
    return bytes ? std::string("accepted") : bytes.error().message;
  };
  EXPECT_EQ(error_of("exit 7"), "the command 'exit 7' ended with 7");
  EXPECT_EQ(error_of("true"), "the key command 'true' printed nothing to \"wrap\"");
  EXPECT_EQ(error_of("head -c 5000 /dev/zero"),
            "the command 'head -c 5000 /dev/zero' wrote 5000 bytes; at most 4096 are expected");
  const auto short_key =
      make_key_command("if [ $LAMINA_KEY_OPERATION = wrap ]; then cat; else echo half; fi");
  const auto bytes = encode_keyring(keys_, *short_key);
  ASSERT_TRUE(bytes);
  EXPECT_NE(open_keyring(*bytes, *short_key).error().message.find("printed 5 bytes"),
            std::string::npos);
  const auto wrong_key = make_key_command(
      "if [ $LAMINA_KEY_OPERATION = wrap ]; then cat; else head -c 32 /dev/zero; fi");
  const auto others = encode_keyring(keys_, *wrong_key);
  ASSERT_TRUE(others);
  EXPECT_EQ(open_keyring(*others, *wrong_key).error().message,
            "key 0 of the keyring cannot be decrypted: it was altered, or the tenant's key is "
            "another one");
}

TEST(KeyFileTest, OlderKeysOfAFileUnwrapAndDoNotWrap) {
  const ScratchDirectory scratch;
  const std::string one(64, '1');
  const std::string two(64, '2');
  const auto before = read_key_file(write_key(scratch, "before", one));
  const auto after = read_key_file(write_key(scratch, "after", two));
  const auto both = read_key_file(write_key(scratch, "both", two + "\n" + one + "\n"));
  ASSERT_TRUE(before && after && both);
  EXPECT_EQ((*both)->key_id(), (*after)->key_id());
  EXPECT_TRUE((*both)->opens((*before)->key_id()));
  EXPECT_FALSE((*after)->opens((*before)->key_id()));
  const auto key = DataKey::random();
  ASSERT_TRUE(key);
  const ObjectKeys keys = {{"object", *key}};
  const auto old_keyring = encode_keyring(keys, **before);
  ASSERT_TRUE(old_keyring);
  const auto opened = open_keyring(*old_keyring, **both);
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_TRUE(are_equal(opened->at("object"), *key));
  EXPECT_FALSE(open_keyring(*old_keyring, **after));
  const auto new_keyring = encode_keyring(keys, **both);
  ASSERT_TRUE(new_keyring);
  EXPECT_TRUE(open_keyring(*new_keyring, **after));
  EXPECT_FALSE(open_keyring(*new_keyring, **before));
}

TEST(KeyFileTest, LinesThatAreNotKeysAreRefused) {
  const ScratchDirectory scratch;
  const std::string key(64, '1');
  std::string many;
  for (std::size_t i = 0; i <= kMaxKeysOfFile; ++i) many += key + "\n";
  for (const std::string& text :
       {key + "\n\n", key + key, key + "\n" + key + "x", key + "\nx", "\n" + key, many}) {
    const auto read = read_key_file(write_key(scratch, "key", text));
    ASSERT_FALSE(read) << text.size();
    EXPECT_EQ(read.error().kind, ErrorKind::kUsage);
  }
}

}  // namespace
}  // namespace lamina::packed
