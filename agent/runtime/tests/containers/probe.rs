//! Static programs of a few bytes that make system calls: one, and exit with its `errno`, or each of a table.
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
    program(path, &code);
}

/// Calls every number of a table with arguments that are all -1, and prints those (in hexadecimal, a line each) whose
/// result is not the table's.
///
/// ```text
///         lea  rbx, [rip+table]         ; entries: number, result; the last number is -1
/// next:   mov  eax, [rbx]
///         cmp  eax, -1
///         je   done
///         mov  rdi, -1                  ; and rsi, rdx, r10, r8, r9
///         syscall
///         movsxd rcx, dword [rbx+4]
///         cmp  rax, rcx
///         je   good
///         call tell
/// good:   add  rbx, 8
///         jmp  next
/// done:   exit(0)
/// tell:   write(1, the number at rbx, 9)
/// ```
const EACH_64: &[u8] =
    b"\x48\x8d\x1d\x80\x00\x00\x00\x8b\x03\x83\xf8\xff\x74\x2c\x48\xc7\xc7\xff\xff\xff\xff\
\x48\x89\xfe\x48\x89\xfa\x49\x89\xfa\x49\x89\xf8\x49\x89\xf9\x0f\x05\x48\x63\x4b\x04\x48\x39\xc8\x74\x05\xe8\
\x0f\x00\x00\x00\x48\x83\xc3\x08\xeb\xcd";

/// The same through `int 0x80`, each in a child: the table's result is the signal that ends it.
///
/// ```text
/// next:   mov  eax, [rbx]
///         cmp  eax, -1
///         je   done
///         fork()
///         jnz  parent
///         mov  eax, [rbx]
///         mov  ebx, -1                  ; and ecx, edx, esi, edi
///         int  0x80
///         exit(0)
/// parent: wait4(-1, &status, 0, 0)
///         and  ecx, 0x7f
///         cmp  ecx, [rbx+4]
///         je   good
///         call tell
/// ```
const EACH_32: &[u8] = b"\x48\x8d\x1d\xb0\x00\x00\x00\x8b\x03\x83\xf8\xff\x74\x5c\xb8\x39\x00\x00\x00\x0f\x05\x85\
\xc0\x75\x1d\x8b\x03\x49\x89\xdc\xbb\xff\xff\xff\xff\x89\xd9\x89\xda\x89\xde\x89\xdf\xcd\x80\x31\xff\xb8\x3c\x00\x00\
\x00\x0f\x05\x48\x83\xec\x10\x48\xc7\xc7\xff\xff\xff\xff\x48\x89\xe6\x31\xd2\x45\x31\xd2\xb8\x3d\x00\x00\x00\x0f\x05\
\x8b\x0c\x24\x48\x83\xc4\x10\x83\xe1\x7f\x3b\x4b\x04\x74\x05\xe8\x0f\x00\x00\x00\x48\x83\xc3\x08\xeb\x9d";

/// How both end: exit, and the routine that prints the number at `rbx`.
const TAIL: &[u8] = b"\x31\xff\xb8\x3c\x00\x00\x00\x0f\x05\x48\x83\xec\x10\x8b\x03\xb9\x08\x00\x00\x00\x89\xc2\x83\xe2\x0f\
\x83\xc2\x30\x83\xfa\x3a\x72\x03\x83\xc2\x27\x88\x54\x0c\xff\xc1\xe8\x04\xff\xc9\x75\xe5\xc6\x44\x24\x08\x0a\xbf\x01\
\x00\x00\x00\x48\x89\xe6\xba\x09\x00\x00\x00\xb8\x01\x00\x00\x00\x0f\x05\x48\x83\xc4\x10\xc3";

/// Writes a program to `path` that makes each call of `table` and prints the numbers whose result is another one.
pub(crate) fn write_each(path: &Path, gate: Gate, table: &[(u32, i32)]) {
    let head = if gate == Gate::X86_64 { EACH_64 } else { EACH_32 };
    let mut code = [head, TAIL].concat();
    for (number, result) in table.iter().chain([&(u32::MAX, 0)]) {
        code.extend(number.to_le_bytes());
        code.extend(result.to_le_bytes());
    }
    program(path, &code);
}

/// An executable file of this code.
fn program(path: &Path, code: &[u8]) {
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
