//! Frame Streams, the receiving end: a handshake, frames with their length in front, and a farewell.
//!
//! A frame of length 0 announces a control frame. The sender says READY with the types it can send, is answered ACCEPT,
//! says START, sends frames, says STOP, and is answered FINISH. A connection holds one frame at a time.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

/// What CoreDNS sends.
const CONTENT: &[u8] = b"protobuf:dnstap.Dnstap";
/// The largest control frame, as the senders' own library has it.
const LARGEST_CONTROL: usize = 512;
/// The largest frame: a DNS message of 65,535 bytes, with what dnstap says beside it.
pub(super) const LARGEST_FRAME: usize = 72 * 1024;
/// For a step of the handshake, and for a frame once it has begun. Between two frames there may be any time.
const PATIENCE: Duration = Duration::from_secs(5);

const ACCEPT: u32 = 1;
const START: u32 = 2;
const STOP: u32 = 3;
const READY: u32 = 4;
const FINISH: u32 = 5;
const CONTENT_TYPE: u32 = 1;

/// Lets a sender begin.
pub(super) async fn greet(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    timeout(PATIENCE, async {
        expect(stream, READY).await?;
        stream.write_all(&control(ACCEPT, Some(CONTENT))).await?;
        expect(stream, START).await
    })
    .await?
}

/// Reads the next frame into `frame`; false once the sender has said that it stops.
pub(super) async fn next(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    frame: &mut Vec<u8>,
) -> io::Result<bool> {
    let first = stream.read_u8().await?;
    timeout(PATIENCE, async {
        let mut rest = [0; 3];
        stream.read_exact(&mut rest).await?;
        let [a, b, c] = rest;
        let length = usize::try_from(u32::from_be_bytes([first, a, b, c])).map_err(io::Error::other)?;
        if length == 0 {
            let (kind, _) = read_control(stream).await?;
            if kind != STOP {
                return Err(malformed("a control frame that is not STOP"));
            }
            stream.write_all(&control(FINISH, None)).await?;
            return Ok(false);
        }
        if length > LARGEST_FRAME {
            return Err(malformed("a frame larger than any message"));
        }
        frame.resize(length, 0);
        stream.read_exact(frame).await?;
        Ok(true)
    })
    .await?
}

async fn expect(stream: &mut (impl AsyncRead + Unpin), wanted: u32) -> io::Result<()> {
    if stream.read_u32().await? != 0 {
        return Err(malformed("a frame before the handshake was over"));
    }
    let (kind, fields) = read_control(stream).await?;
    if kind == wanted && offers(&fields) {
        Ok(())
    } else {
        Err(malformed("another handshake than that of dnstap"))
    }
}

/// A control frame after its announcement: its type, and its fields.
async fn read_control(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(u32, Vec<u8>)> {
    let length = usize::try_from(stream.read_u32().await?).map_err(io::Error::other)?;
    if !(4..=LARGEST_CONTROL).contains(&length) {
        return Err(malformed("a control frame of a wrong size"));
    }
    let kind = stream.read_u32().await?;
    let mut fields = vec![0; length - 4];
    stream.read_exact(&mut fields).await?;
    Ok((kind, fields))
}

/// Whether dnstap is among the types of content. One who names none sends anything.
fn offers(fields: &[u8]) -> bool {
    let mut rest = fields;
    while let Some((kind, after)) = number(rest) {
        let Some((length, after)) = number(after) else {
            return false;
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some((value, after)) = after.split_at_checked(length) else {
            return false;
        };
        if kind == CONTENT_TYPE && value == CONTENT {
            return true;
        }
        rest = after;
    }
    fields.is_empty()
}

/// The number at the front, and what is behind it.
fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (front, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*front), rest))
}

fn control(kind: u32, content: Option<&[u8]>) -> Vec<u8> {
    let mut body = kind.to_be_bytes().to_vec();
    if let Some(content) = content {
        body.extend(CONTENT_TYPE.to_be_bytes());
        body.extend(length(content));
        body.extend(content);
    }
    [&[0; 4][..], &length(&body), &body].concat()
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
pub(super) mod tests {
    use tokio::io::duplex;

    use super::*;

    /// What a sender says, up to its first frame.
    pub(crate) fn opening(content: &[u8]) -> [Vec<u8>; 2] {
        [control(READY, Some(content)), control(START, Some(content))]
    }

    pub(crate) fn frame(payload: &[u8]) -> Vec<u8> {
        [&length(payload)[..], payload].concat()
    }

    #[tokio::test]
    async fn a_sender_is_let_in_its_frames_are_read_and_its_farewell_is_answered() {
        let (mut sender, mut receiver) = duplex(4096);
        let [ready, start] = opening(CONTENT);
        let all = [ready, start, frame(b"one"), frame(b"three"), control(STOP, None)].concat();
        sender.write_all(&all).await.unwrap();
        greet(&mut receiver).await.unwrap();
        let mut read = Vec::new();
        assert!(next(&mut receiver, &mut read).await.unwrap());
        assert_eq!(read, b"one");
        assert!(next(&mut receiver, &mut read).await.unwrap());
        assert_eq!(read, b"three");
        assert!(!next(&mut receiver, &mut read).await.unwrap());
        drop(receiver);
        let mut answered = Vec::new();
        sender.read_to_end(&mut answered).await.unwrap();
        assert_eq!(
            answered,
            [control(ACCEPT, Some(CONTENT)), control(FINISH, None)].concat()
        );
    }

    #[tokio::test]
    async fn who_speaks_of_something_else_is_not_let_in() {
        let [ready, start] = opening(CONTENT);
        for said in [
            opening(b"text/plain")[0].clone(),
            start,
            frame(&ready),
            [vec![0; 4], vec![0, 0, 2, 1]].concat(),
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        ] {
            let (mut sender, mut receiver) = duplex(4096);
            sender.write_all(&said).await.unwrap();
            assert_eq!(
                greet(&mut receiver).await.unwrap_err().kind(),
                io::ErrorKind::InvalidData,
                "{said:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_is_too_large_or_too_slow_ends_it() {
        let (mut sender, mut receiver) = duplex(4096);
        let largest = u32::try_from(LARGEST_FRAME).unwrap();
        sender.write_u32(largest + 1).await.unwrap();
        let mut read = Vec::new();
        let error = next(&mut receiver, &mut read).await.unwrap_err();
        assert_eq!((error.kind(), read.capacity()), (io::ErrorKind::InvalidData, 0));
        sender.write_u32(largest).await.unwrap();
        let error = next(&mut receiver, &mut read).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let error = greet(&mut receiver).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
