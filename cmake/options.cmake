# Compiler options of every target of ours: link `options` privately.
add_library(options INTERFACE)
target_compile_options(options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Werror -Wno-unknown-pragmas>
  $<$<COMPILE_LANGUAGE:CUDA>:--Werror=all-warnings -Xcompiler=-Wall,-Wextra,-Werror,-Wno-unknown-pragmas -lineinfo>)
# g++ 12 sees an overflow in fmt's own code behind fmt::join where it optimises for wide vectors; there is none.
target_compile_options(options INTERFACE $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<CXX_COMPILER_ID:GNU>>:-Wno-stringop-overflow>)
# Neither changes a result: math functions do not set errno, and no one reads the floating-point exception flags, so that
# loops with sqrtf or float comparisons vectorise.
target_compile_options(options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fno-math-errno -fno-trapping-math>)
# A target may have a property MARCH; else its code is for this processor, or for every x86-64 from AVX2 up.
set(march $<TARGET_PROPERTY:MARCH>)
set(default)
if(MOBILENET_NATIVE)
  set(default -march=native)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
  set(default -march=x86-64-v3)
endif()
target_compile_options(options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:$<IF:$<BOOL:${march}>,-march=${march},${default}>>)
if(MOBILENET_SANITIZE)
  # Without UBSan's question before each access whether a pointer is null: what uses one, AddressSanitizer reports.
  target_compile_options(options INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${MOBILENET_SANITIZE} -fno-sanitize=null -fno-omit-frame-pointer
    -fno-sanitize-recover=all>)
  add_link_options(-fsanitize=${MOBILENET_SANITIZE})
endif()
