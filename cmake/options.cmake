# Compiler options of every target of ours: link `options` privately.
add_library(options INTERFACE)
target_compile_options(options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Werror -Wno-unknown-pragmas>
  $<$<COMPILE_LANGUAGE:CUDA>:--Werror=all-warnings -Xcompiler=-Wall,-Wextra,-Werror,-Wno-unknown-pragmas -lineinfo>)
# Neither changes a result: math functions do not set errno, and no one reads the floating-point exception flags, so that
# loops with sqrtf or float comparisons vectorise.
target_compile_options(options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fno-math-errno -fno-trapping-math>)
if(MOBILENET_NATIVE)
  target_compile_options(options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-march=native>)
endif()
if(MOBILENET_SANITIZE)
  target_compile_options(options INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${MOBILENET_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all>)
  add_link_options(-fsanitize=${MOBILENET_SANITIZE})
endif()
