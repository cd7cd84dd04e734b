#include "payload.h"

#include <algorithm>
#include <bit>
#include <cstring>

// RAX random, R10 sum, XMM0 sum of sums, R8 pages of the working area, R9 its address, R11 and R12
// multiplier and increment. RCX counts down the chunk, RDX is the page, RSI the word in it.
asm(R"(
.section .rodata
.code64
lamina_payload_begin:
.Lchunk:
  movl $256, %ecx
.Lstep:
  imulq %r11, %rax
  addq %r12, %rax
  movq %rax, %rdx
  shrq $33, %rdx
  imulq %r8, %rdx
  shrq $31, %rdx
  shlq $12, %rdx
  addq %r9, %rdx
  movq %rax, %rsi
  shrq $20, %rsi
  andl $511, %esi
  movq (%rdx,%rsi,8), %rbx
  rolq $7, %r10
  addq %rbx, %r10
  movq %r10, %xmm1
  paddq %xmm1, %xmm0
  movq %rax, %rdi
  shrq $29, %rdi
  andl $7, %edi
  cmpl $4, %edi
  jb .Lnext
  je .Lstore
  cmpl $5, %edi
  je .Lclear
  xorq %rax, %rbx
  rolq $13, %rbx
.Lstore:
  movq %rbx, (%rdx,%rsi,8)
.Lnext:
  decl %ecx
  jnz .Lstep
  outb %al, $0xf1
  jmp .Lchunk
.Lclear:
  movq %rdx, %rdi
  movq %rax, %r13
  movl %ecx, %r14d
  xorl %eax, %eax
  movl $512, %ecx
  rep stosq
  movq %r13, %rax
  movl %r14d, %ecx
  jmp .Lnext
lamina_payload_end:
.text
)");

extern "C" {
extern const std::byte lamina_payload_begin[];
extern const std::byte lamina_payload_end[];
}

namespace lamina::tests {
namespace {

static_assert(kChunkSteps == 256 && kChunkPort == 0xf1, "the payload has them as numbers");

constexpr std::size_t kPageWords = kPageBytes / sizeof(std::uint64_t);

// Page table entries.
constexpr std::uint64_t kPresentWritableUser = 0x7;
constexpr std::uint64_t kAccessed = 0x20;
constexpr std::uint64_t kDirty = 0x40;
constexpr std::uint64_t kLargePage = 0x80;

/// The finalizer of splitmix64.
std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}

std::uint64_t guest_physical(std::uint64_t offset, std::size_t memory_bytes) {
  const std::size_t first = region_bytes(memory_bytes)[0];
  return offset < first ? offset : kSecondRegionAddress + (offset - first);
}

void write_page_tables(std::span<std::uint64_t> words) {
  const std::size_t memory_bytes = words.size_bytes();
  const std::size_t level4 = kPageTablesAddress / sizeof(std::uint64_t);
  const std::size_t level3 = level4 + kPageWords;
  const std::size_t level2 = level3 + kPageWords;
  const std::uint64_t link = kPresentWritableUser | kAccessed;
  words[level4] = level3 * sizeof(std::uint64_t) | link;
  words[level3] = level2 * sizeof(std::uint64_t) | link;
  for (std::size_t i = 0; i < memory_bytes / kLargePageBytes; ++i) {
    words[level2 + i] = guest_physical(i * kLargePageBytes, memory_bytes) | kPresentWritableUser |
                        kAccessed | kDirty | kLargePage;
  }
}

/// Three of four pages have data.
void fill_working_area(std::span<std::uint64_t> words) {
  for (std::size_t page = kWorkAddress / kPageBytes; page < words.size() / kPageWords; ++page) {
    const std::uint64_t seed = mix(page);
    if (seed % 4 == 0) continue;
    for (std::size_t i = 0; i < kPageWords; ++i) words[page * kPageWords + i] = seed * (2 * i + 1);
  }
}

}  // namespace

std::vector<std::size_t> discarded_pages(std::uint64_t chunk, std::size_t count,
                                         std::size_t memory_bytes) {
  const std::size_t work_page = kWorkAddress / kPageBytes;
  const std::size_t work_pages = memory_bytes / kPageBytes - work_page;
  std::vector<std::size_t> pages;
  pages.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    pages.push_back(work_page + mix(mix(chunk) + i) % work_pages);
  }
  return pages;
}

PayloadModel::PayloadModel(std::size_t memory_bytes, std::size_t discards)
    : words_(memory_bytes / sizeof(std::uint64_t)),
      uses_(memory_bytes / kPageBytes),
      discards_(discards) {
  write_page_tables(words_);
  const std::span code(lamina_payload_begin, lamina_payload_end);
  std::ranges::copy(code, std::as_writable_bytes(std::span(words_)).begin() + kCodeAddress);
  fill_working_area(words_);
}

void PayloadModel::run(std::uint64_t steps) {
  std::ranges::fill(uses_, std::uint8_t{0});
  for (std::uint64_t done = 0; done < steps; done += kChunkSteps) {
    for (std::uint64_t i = 0; i < kChunkSteps; ++i) step();
    const std::size_t memory_bytes = words_.size() * sizeof(std::uint64_t);
    for (const std::size_t page : discarded_pages(chunks_done_, discards_, memory_bytes)) {
      clear(page);
    }
    ++chunks_done_;
  }
}

void PayloadModel::clear(std::size_t page) {
  std::fill_n(words_.begin() + static_cast<std::ptrdiff_t>(page * kPageWords), kPageWords, 0);
}

void PayloadModel::step() {
  PayloadRegisters& r = registers_;
  r.random = r.random * kMultiplier + kIncrement;
  const std::size_t work_page = kWorkAddress / kPageBytes;
  const std::size_t page = work_page + (((r.random >> 33) * (uses_.size() - work_page)) >> 31);
  std::uint64_t& word = words_[page * kPageWords + ((r.random >> 20) & 511)];
  r.sum = std::rotl(r.sum, 7) + word;
  r.sum_of_sums += r.sum;
  const std::uint64_t action = (r.random >> 29) & 7;
  uses_[page] |= action < 4 ? kRead : kRead | kWritten;
  if (action == 5) {
    clear(page);
  } else if (action > 5) {
    word = std::rotl(word ^ r.random, 13);
  }
}

std::uint64_t checksum(std::span<const std::span<const std::byte>> memory,
                       const PayloadRegisters& registers) {
  std::uint64_t hash = 0;
  const auto add = [&hash](std::uint64_t word) {
    hash = std::rotl(hash ^ word, 27) * kMultiplier + kIncrement;
  };
  for (const std::span<const std::byte> part : memory) {
    for (std::size_t at = 0; at + sizeof(std::uint64_t) <= part.size();
         at += sizeof(std::uint64_t)) {
      std::uint64_t word = 0;
      std::memcpy(&word, &part[at], sizeof(word));
      add(word);
    }
  }
  add(registers.random);
  add(registers.sum);
  add(registers.sum_of_sums);
  return mix(hash);
}

}  // namespace lamina::tests
