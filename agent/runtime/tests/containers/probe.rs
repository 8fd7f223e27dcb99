//! A static program of a few bytes that makes one system call and exits with its `errno`.
//!
//! Written by hand, so that the tests need no compiler: an ELF header, one loadable segment, and code.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// How the call is made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// `syscall`.
    X86_64,
    /// `int 0x80`, the way of 32-bit programs.
    I386,
}

const BASE: u64 = 0x40_0000;
const HEADERS: u64 = 64 + 56;

/// Writes the program to `path`: it makes call `number` with `arguments` and exits with the error it got, or 0.
pub(crate) fn write(path: &Path, gate: Gate, number: u32, arguments: [u32; 3]) {
    let mut code = vec![0xb8]; // mov eax, number
    code.extend(number.to_le_bytes());
    let registers = match gate {
        Gate::X86_64 => [0xbf, 0xbe, 0xba], // edi, esi, edx
        Gate::I386 => [0xbb, 0xb9, 0xba],   // ebx, ecx, edx
    };
    for (register, argument) in registers.into_iter().zip(arguments) {
        code.push(register);
        code.extend(argument.to_le_bytes());
    }
    code.extend(match gate {
        Gate::X86_64 => [0x0f, 0x05],
        Gate::I386 => [0xcd, 0x80],
    });
    code.extend([0x31, 0xff]); // xor edi, edi
    code.extend([0x85, 0xc0]); // test eax, eax
    code.extend([0x79, 0x04]); // jns +4
    code.extend([0xf7, 0xd8, 0x89, 0xc7]); // neg eax; mov edi, eax
    code.extend([0xb8, 60, 0, 0, 0, 0x0f, 0x05]); // exit(edi)

    let size = HEADERS + code.len() as u64;
    let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    elf.extend(2_u16.to_le_bytes()); // an executable
    elf.extend(62_u16.to_le_bytes()); // of x86-64
    elf.extend(1_u32.to_le_bytes());
    for value in [BASE + HEADERS, 64, 0] {
        elf.extend(value.to_le_bytes()); // entry, program headers, no section headers
    }
    elf.extend(0_u32.to_le_bytes());
    for value in [64_u16, 56, 1, 0, 0, 0] {
        elf.extend(value.to_le_bytes());
    }
    elf.extend(1_u32.to_le_bytes()); // load
    elf.extend(5_u32.to_le_bytes()); // readable, executable
    for value in [0, BASE, BASE, size, size, 0x1000] {
        elf.extend(value.to_le_bytes());
    }
    elf.extend(code);
    fs::write(path, elf).expect("the probe");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it may be executed");
}
