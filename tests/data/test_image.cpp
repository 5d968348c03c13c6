#include "data/image.h"

#include <cmath>
#include <cstdlib>

#include "data/file.h"
#include "data/random.h"
#include "files.h"

#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <stb/stb_image_write.h>

using namespace data;

namespace {

// A smooth picture, which JPEG keeps well.
Image smooth_image(int height, int width) {
  Image image{height, width, {}};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      image.pixels.push_back(uint8_t(40 + 160 * x / width));
      image.pixels.push_back(uint8_t(40 + 160 * y / height));
      image.pixels.push_back(uint8_t(200 - 80 * x / width - 80 * y / height));
    }
  }
  return image;
}

Image noise_image(int height, int width) {
  Image image{height, width, {}};
  Random random(1, Purpose::shuffle, 0, 0);
  image.pixels.resize(size_t(height * width * 3));
  for (uint8_t& value : image.pixels) value = uint8_t(random.next());
  return image;
}

void append(void* user, void* chunk, int size) {
  auto& bytes = *static_cast<std::vector<uint8_t>*>(user);
  bytes.insert(bytes.end(), static_cast<uint8_t*>(chunk), static_cast<uint8_t*>(chunk) + size);
}

// An image file's bytes. `channels` as stb_image_write has it: grey, grey + alpha, RGB, RGBA.
std::vector<uint8_t> encode(const std::string& format, int height, int width, int channels,
                            const std::vector<uint8_t>& pixels) {
  std::vector<uint8_t> bytes;
  if (format == "png") stbi_write_png_to_func(append, &bytes, width, height, channels, pixels.data(), width * channels);
  if (format == "jpg") stbi_write_jpg_to_func(append, &bytes, width, height, channels, pixels.data(), 95);
  if (format == "bmp") stbi_write_bmp_to_func(append, &bytes, width, height, channels, pixels.data());
  REQUIRE(!bytes.empty());
  return bytes;
}

std::vector<uint8_t> encode(const std::string& format, const Image& image) {
  return encode(format, image.height, image.width, 3, image.pixels);
}

// The triangle filter in double, as its definition reads; (H, W, 3).
std::vector<double> reference_resize(const Image& in, int height, int width) {
  const auto weight = [](int from, int to, int i, int j) {
    const double scale = double(from) / to, distance = std::abs(j + 0.5 - (i + 0.5) * scale);
    return std::max(0.0, 1 - distance / std::max(scale, 1.0));
  };
  std::vector<double> out;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < 3; ++c) {
        double sum = 0, weights = 0;
        for (int j = 0; j < in.height; ++j) {
          for (int i = 0; i < in.width; ++i) {
            const double w = weight(in.height, height, y, j) * weight(in.width, width, x, i);
            sum += w * in.pixels[size_t((j * in.width + i) * 3 + c)];
            weights += w;
          }
        }
        out.push_back(sum / weights);
      }
    }
  }
  return out;
}

Image mirrored(const Image& image) {
  Image result = image;
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      for (int c = 0; c < 3; ++c) {
        result.pixels[size_t((y * image.width + x) * 3 + c)] =
            image.pixels[size_t((y * image.width + image.width - 1 - x) * 3 + c)];
      }
    }
  }
  return result;
}

}  // namespace

TEST_CASE("PNG and BMP files give back what was written") {
  const TemporaryFolder folder;
  const std::string format = GENERATE("png", "bmp");
  const Image image = noise_image(7, 13);
  write_bytes(folder / "image", encode(format, image));  // the contents tell the format, not the name
  const Image read = read_image(folder / "image");
  CHECK(read.height == 7);
  CHECK(read.width == 13);
  CHECK(read.pixels == image.pixels);
}

TEST_CASE("a JPEG file gives back nearly what was written") {
  const TemporaryFolder folder;
  const Image image = smooth_image(37, 50);
  write_bytes(folder / "image.jpg", encode("jpg", image));
  const Image read = read_image(folder / "image.jpg");
  REQUIRE(read.height == 37);
  REQUIRE(read.width == 50);
  REQUIRE(read.pixels.size() == image.pixels.size());
  int worst = 0;
  for (size_t i = 0; i < image.pixels.size(); ++i) worst = std::max(worst, std::abs(read.pixels[i] - image.pixels[i]));
  CHECK(worst <= 8);  // quantisation at quality 95 of a smooth ramp; a swapped channel or row would be off by far more
}

TEST_CASE("grey becomes RGB and alpha is dropped") {
  const TemporaryFolder folder;
  const int channels = GENERATE(1, 2, 4);
  const std::vector<uint8_t> pixels = channels == 1   ? std::vector<uint8_t>{10, 200}
                                      : channels == 2 ? std::vector<uint8_t>{10, 0, 200, 128}
                                                      : std::vector<uint8_t>{1, 2, 3, 0, 4, 5, 6, 255};
  write_bytes(folder / "image.png", encode("png", 1, 2, channels, pixels));
  CHECK(read_image(folder / "image.png").pixels ==
        (channels == 4 ? std::vector<uint8_t>{1, 2, 3, 4, 5, 6} : std::vector<uint8_t>{10, 10, 10, 200, 200, 200}));
}

TEST_CASE("an image file cut short anywhere is an error that names it") {
  const TemporaryFolder folder;
  const std::string format = GENERATE("jpg", "png", "bmp");
  const std::vector<uint8_t> bytes = encode(format, noise_image(9, 11));
  for (size_t length = 0; length < bytes.size(); ++length) {
    INFO(format << " cut to " << length << " of " << bytes.size() << " bytes");
    write_bytes(folder / "cut", std::span(bytes).first(length));
    check_says(error_of([&] { read_image(folder / "cut"); }), {"cut: ", "; expected "});
  }
}

TEST_CASE("any damaged byte of a PNG is an error") {
  const TemporaryFolder folder;
  const std::vector<uint8_t> bytes = encode("png", noise_image(5, 6));
  for (size_t i = 0; i < bytes.size(); ++i) {
    INFO("byte " << i << " of " << bytes.size());
    std::vector<uint8_t> damaged = bytes;
    damaged[i] ^= 0x10;
    write_bytes(folder / "damaged.png", damaged);
    check_says(error_of([&] { read_image(folder / "damaged.png"); }), {"damaged.png: ", "; expected "});
  }
}

TEST_CASE("damaged JPEG and BMP files give an error or pixels, never anything else") {
  const TemporaryFolder folder;
  const std::string format = GENERATE("jpg", "bmp");
  const std::vector<uint8_t> bytes = encode(format, noise_image(9, 11));
  Random random(3, Purpose::shuffle, 0, 0);
  int errors = 0;
  for (int trial = 0; trial < 500; ++trial) {
    std::vector<uint8_t> damaged = bytes;
    const size_t at = random.below(uint32_t(bytes.size()));
    damaged[at] = uint8_t(random.next());
    write_bytes(folder / "damaged", damaged);
    try {
      const Image image = read_image(folder / "damaged");
      CHECK(image.pixels.size() == size_t(image.height) * size_t(image.width) * 3);
    } catch (const Error&) {
      ++errors;
    }
  }
  CHECK(errors > 0);
}

TEST_CASE("a JPEG with an impossible Huffman table is refused") {  // stb_image 2.27 would write past its table
  const TemporaryFolder folder;
  std::vector<uint8_t> bytes = encode("jpg", noise_image(9, 11));
  size_t at = 0;  // the first table: FF C4, length (2 bytes), which (1), 16 counts
  while (bytes[at] != 0xFF || bytes[at + 1] != 0xC4) ++at;
  std::fill(bytes.begin() + long(at) + 5, bytes.begin() + long(at) + 21, uint8_t(255));
  write_bytes(folder / "hostile.jpg", bytes);
  check_says(error_of([&] { read_image(folder / "hostile.jpg"); }), {"hostile.jpg", "a Huffman table of 4080 codes"});
}

TEST_CASE("what is no image says so") {
  const TemporaryFolder folder;
  check_says(error_of([&] { read_image(folder / "missing.png"); }), {"missing.png", "no such file"});
  check_says(error_of([&] { read_image(folder.path()); }), {folder.path().string(), "a folder"});
  write_text(folder / "notes.png", "not a picture");
  check_says(error_of([&] { read_image(folder / "notes.png"); }), {"notes.png", "expected JPEG, PNG or BMP"});
  write_text(folder / "empty.jpg", "");
  check_says(error_of([&] { read_image(folder / "empty.jpg"); }), {"empty.jpg", "empty", "expected"});
}

TEST_CASE("an image of too many pixels is refused before it is decoded") {
  const TemporaryFolder folder;
  std::vector<uint8_t> bytes = encode("bmp", noise_image(2, 2));
  for (const size_t at : {size_t{18}, size_t{22}}) {  // width and height, little endian: 20000 = 0x4e20
    bytes[at] = 0x20;
    bytes[at + 1] = 0x4e;
  }
  write_bytes(folder / "large.bmp", bytes);
  check_says(error_of([&] { read_image(folder / "large.bmp"); }), {"large.bmp", "20000x20000", "at most"});
}

TEST_CASE("write_png replaces a file whole and leaves nothing beside it") {
  const TemporaryFolder folder;
  const Image first = noise_image(4, 6), second = smooth_image(3, 5);
  write_png(folder / "a.png", first);
  CHECK(read_image(folder / "a.png").pixels == first.pixels);
  write_png(folder / "a.png", second);
  CHECK(read_image(folder / "a.png").pixels == second.pixels);
  int files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.path())) ++files;
  CHECK(files == 1);
}

TEST_CASE("write_png says why it cannot write") {
  const TemporaryFolder folder;
  const Image image = smooth_image(2, 2);
  check_says(error_of([&] { write_png(folder / "none/a.png", image); }),
             {"none/a.png", "cannot be written", "No such file"});
  std::filesystem::create_directories(folder / "taken/in");
  check_says(error_of([&] { write_png(folder / "taken", image); }), {"taken", "cannot be written"});
  CHECK(!std::filesystem::exists(folder / "taken.partial"));
  CHECK_THROWS_AS(write_png(folder / "b.png", (Image{2, 2, {1, 2, 3}})), std::invalid_argument);
}

TEST_CASE("resizing agrees with the filter's definition") {
  struct Sizes {
    int in_height, in_width, out_height, out_width;
  };
  const Sizes s = GENERATE(Sizes{32, 32, 64, 64}, Sizes{32, 32, 96, 96}, Sizes{40, 30, 32, 32}, Sizes{100, 7, 9, 11},
                           Sizes{1, 1, 5, 3}, Sizes{5, 3, 1, 1}, Sizes{64, 64, 32, 32}, Sizes{33, 47, 32, 32});
  const Image in = noise_image(s.in_height, s.in_width);
  const Image out = resize(in, s.out_height, s.out_width);
  const std::vector<double> expected = reference_resize(in, s.out_height, s.out_width);
  REQUIRE(out.pixels.size() == expected.size());
  double worst = 0;
  for (size_t i = 0; i < expected.size(); ++i) worst = std::max(worst, std::abs(out.pixels[i] - expected[i]));
  CHECK(worst < 1.01);  // rounded to a byte twice, half a step each, and weights to 2^-22
}

TEST_CASE("resizing gives Pillow's bytes") {
  // Made with Pillow 13.0: list(Image.frombytes("RGB", (7, 5), bytes((i * i * 7 + i * 31) & 255 for i in range(105)))
  //                            .resize((width, height), Image.BILINEAR).tobytes())
  Image image{5, 7, {}};
  for (int i = 0; i < 5 * 7 * 3; ++i) image.pixels.push_back(uint8_t(i * i * 7 + i * 31));
  CHECK(resize(image, 3, 2).pixels ==
        std::vector<uint8_t>{116, 131, 128, 134, 149, 143, 130, 136, 101, 145, 89, 126, 101, 155, 129, 183, 113, 109});
  CHECK(resize(image, 9, 2).pixels ==
        std::vector<uint8_t>{113, 134, 116, 128, 137, 137, 115, 131, 126, 133, 147, 141, 119, 127, 142, 141, 163, 149,
                             134, 127, 111, 142, 116, 132, 151, 129, 68,  140, 53,  110, 115, 148, 107, 152, 79,  128,
                             90,  161, 137, 165, 103, 136, 104, 154, 127, 187, 115, 103, 112, 149, 121, 200, 123, 84});
}

TEST_CASE("resizing keeps an image of the same size, one colour, and the sides apart") {
  const Image image = noise_image(12, 17);
  CHECK(resize(image, 12, 17).pixels == image.pixels);
  CHECK(resize(mirrored(image), 8, 30).pixels == mirrored(resize(image, 8, 30)).pixels);
  for (const int value : {0, 1, 127, 254, 255}) {
    const Image flat{50, 40, std::vector<uint8_t>(50 * 40 * 3, uint8_t(value))};
    CHECK(resize(flat, 7, 90).pixels == std::vector<uint8_t>(7 * 90 * 3, uint8_t(value)));
  }
  CHECK_THROWS_AS(resize(image, 0, 5), std::invalid_argument);
  CHECK_THROWS_AS(resize(Image{}, 5, 5), std::invalid_argument);
}
