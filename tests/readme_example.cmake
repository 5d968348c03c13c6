# The program in README.md is the one that the tests build and run, to the letter.
file(READ ${ROOT}/README.md readme)
file(READ ${ROOT}/tests/engine/example/train_tiny.cpp program)
string(FIND "${readme}" "```cpp\n${program}```" place)
if(place EQUAL -1)
  message(FATAL_ERROR "README.md's program differs from tests/engine/example/train_tiny.cpp")
endif()
