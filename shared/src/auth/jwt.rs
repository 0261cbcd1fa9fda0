//! JSON web tokens (RFC 7519), under RFC 8725's rules that matter here: the algorithm is pinned by configuration and never
//! taken from the token, and expiry is required.
//!
//! Claims: `sub` (who), `org` (organisation's UUID), `role`, `exp`; `nbf` is honoured when present, others are ignored.

use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::{Principal, Role, Subject};
use crate::config::JwtConfig;
use crate::ids::OrgId;

/// Clocks of issuers may differ from ours by this much.
const LEEWAY_SECONDS: f64 = 10.0;
const SUBJECT_BYTES: usize = 256;

/// Why a token was refused. For the log; callers are told only that it was.
#[derive(Debug, thiserror::Error)]
pub enum TokenRefused {
    /// Wrong shape, algorithm or signature, or a claim is missing or malformed.
    #[error("token is not acceptable")]
    Invalid(#[source] jsonwebtoken::errors::Error),
    /// `exp` is in the past.
    #[error("token has expired")]
    Expired,
    /// `nbf` is in the future.
    #[error("token is not valid yet")]
    Early,
    /// `sub` is empty, too long or has control characters.
    #[error("subject is not usable as a name")]
    Subject,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    org: OrgId,
    role: Role,
    // NumericDate may have a fraction (RFC 7519, section 2).
    exp: f64,
    nbf: Option<f64>,
}

/// Verifies tokens with one key and one algorithm.
pub struct JwtVerifier {
    key: DecodingKey,
    validation: Validation,
}

impl std::fmt::Debug for JwtVerifier {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("JwtVerifier").field("algorithms", &self.validation.algorithms).finish_non_exhaustive()
    }
}

impl JwtVerifier {
    /// Prepares the key.
    ///
    /// # Errors
    /// Says what is wrong with a public key.
    pub fn new(config: &JwtConfig) -> Result<Self, String> {
        let (key, algorithm) = match config {
            JwtConfig::Secret(secret) => {
                (DecodingKey::from_secret(secret.expose_secret().as_bytes()), Algorithm::HS256)
            }
            JwtConfig::PublicKey(pem) => public_key(pem)?,
        };
        let mut validation = Validation::new(algorithm);
        // Times are checked below, against the clock that the caller brings.
        validation.validate_exp = false;
        validation.required_spec_claims.clear();
        // There is one issuer with one key; which of its services a token is for is told by `org` and `role`.
        validation.validate_aud = false;
        Ok(Self { key, validation })
    }

    /// Verifies a token's signature and claims.
    ///
    /// # Errors
    /// Says why the token is refused.
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<Principal, TokenRefused> {
        let claims: Claims =
            jsonwebtoken::decode(token, &self.key, &self.validation).map_err(TokenRefused::Invalid)?.claims;
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit in 53 bits for 285 million years")]
        let now = now.timestamp() as f64;
        if claims.exp + LEEWAY_SECONDS <= now {
            return Err(TokenRefused::Expired);
        }
        if claims.nbf.is_some_and(|not_before| not_before - LEEWAY_SECONDS > now) {
            return Err(TokenRefused::Early);
        }
        let subject = claims.sub;
        if subject.is_empty() || subject.len() > SUBJECT_BYTES || subject.chars().any(char::is_control) {
            return Err(TokenRefused::Subject);
        }
        Ok(Principal { org: claims.org, role: claims.role, subject: Subject::Token(subject) })
    }
}

/// Whether `pem` is a public key that [`JwtVerifier`] takes.
pub(crate) fn check_public_key(pem: &str) -> Result<(), String> {
    public_key(pem).map(|_| ())
}

fn public_key(pem: &str) -> Result<(DecodingKey, Algorithm), String> {
    if pem.contains("PRIVATE KEY") {
        return Err("holds a private key; the API needs the public one only".to_owned());
    }
    if let Ok(key) = DecodingKey::from_ed_pem(pem.as_bytes()) {
        return Ok((key, Algorithm::EdDSA));
    }
    let key = DecodingKey::from_rsa_pem(pem.as_bytes())
        .map_err(|_| "is not the PEM of an Ed25519 or RSA public key".to_owned())?;
    // A 2048-bit RSA public key takes 270 bytes of PKCS#1 DER; a 1024-bit one takes 140.
    if key.try_get_as_bytes().is_ok_and(|der| der.len() < 256) {
        return Err("is an RSA key of less than 2048 bits".to_owned());
    }
    Ok((key, Algorithm::RS256))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use jsonwebtoken::{EncodingKey, Header, encode};
    use secrecy::SecretString;
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &[u8] = b"qk3Zr8Vw1Lx5Tn7Yb2Hc9Jd4Mf6Ps0Ga";
    const NOW: i64 = 1_800_000_000;
    const ORG: &str = "0193e4a8-6f4e-7c3a-9d55-0f6a3c1b2d7e";
    // Made for this test with `openssl genpkey -algorithm ed25519`; used nowhere else.
    const ED_PRIVATE_DER: &str = "MC4CAQAwBQYDK2VwBCIEINpmWeQOIm60QrNJQrPzENZ+S1NW0r0GSzbIp8i4dXjo";
    const ED_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA52pU1AX+w7GjS2cDDihm9al5Hm5amJhQoicHPX/amxk=\n-----END PUBLIC KEY-----\n";

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(NOW, 0).expect("a time")
    }

    fn hs256() -> JwtVerifier {
        let secret = std::str::from_utf8(SECRET).expect("ASCII");
        JwtVerifier::new(&JwtConfig::Secret(SecretString::from(secret))).expect("a secret")
    }

    fn claims() -> Value {
        json!({ "sub": "importer", "org": ORG, "role": "operator", "exp": NOW + 60 })
    }

    fn sign(header: Algorithm, claims: &Value) -> String {
        encode(&Header::new(header), claims, &EncodingKey::from_secret(SECRET)).expect("signed")
    }

    #[test]
    fn a_good_token_gives_its_principal() {
        let principal = hs256().verify(&sign(Algorithm::HS256, &claims()), now()).expect("accepted");
        assert_eq!(principal.org.to_string(), ORG);
        assert_eq!(principal.role, Role::Operator);
        assert_eq!(principal.subject, Subject::Token("importer".to_owned()));
        // The first bytes of `printf importer | sha256sum`.
        assert_eq!(principal.subject.to_string(), "token:2c98ae936632");
    }

    #[test]
    fn every_required_claim_is_required() {
        for name in ["sub", "org", "role", "exp"] {
            let mut claims = claims();
            claims.as_object_mut().expect("an object").remove(name);
            let refused = hs256().verify(&sign(Algorithm::HS256, &claims), now());
            assert!(matches!(refused, Err(TokenRefused::Invalid(_))), "{name}: {refused:?}");
        }
    }

    #[test]
    fn malformed_claims_are_refused() {
        for (name, value) in [
            ("sub", json!("")),
            ("sub", json!("a\u{0}b")),
            ("sub", json!("x".repeat(257))),
            ("org", json!("not a uuid")),
            ("role", json!("root")),
            ("exp", json!("tomorrow")),
            ("exp", json!(null)),
            ("nbf", json!(NOW + 3600)),
        ] {
            let mut claims = claims();
            claims[name] = value.clone();
            assert!(hs256().verify(&sign(Algorithm::HS256, &claims), now()).is_err(), "{name} = {value}");
        }
    }

    #[test]
    fn expiry_allows_for_skewed_clocks_and_no_more() {
        for (exp, accepted) in [(NOW - 9, true), (NOW - 10, false), (NOW - 3600, false)] {
            let mut claims = claims();
            claims["exp"] = json!(exp);
            assert_eq!(hs256().verify(&sign(Algorithm::HS256, &claims), now()).is_ok(), accepted, "{}", exp - NOW);
        }
    }

    #[test]
    fn another_algorithm_is_refused_though_the_key_fits() {
        for algorithm in [Algorithm::HS384, Algorithm::HS512] {
            assert!(hs256().verify(&sign(algorithm, &claims()), now()).is_err(), "{algorithm:?}");
        }
    }

    #[test]
    fn an_unsigned_token_is_refused() {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        for algorithm in ["none", "None", "NONE", ""] {
            let token = format!("{}.{}.", part(&json!({ "alg": algorithm, "typ": "JWT" })), part(&claims()));
            assert!(hs256().verify(&token, now()).is_err(), "{algorithm}");
        }
    }

    #[test]
    fn a_changed_claim_or_another_secret_is_refused() {
        let token = sign(Algorithm::HS256, &claims());
        let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
        let mut raised = claims();
        raised["role"] = json!("admin");
        parts[1] = URL_SAFE_NO_PAD.encode(raised.to_string());
        assert!(hs256().verify(&parts.join("."), now()).is_err());

        let other = EncodingKey::from_secret(b"another secret of more than 32 bytes");
        let token = encode(&Header::new(Algorithm::HS256), &claims(), &other).expect("signed");
        assert!(hs256().verify(&token, now()).is_err());
        for nonsense in ["", ".", "..", "a.b.c", "\u{0}"] {
            assert!(hs256().verify(nonsense, now()).is_err());
        }
    }

    #[test]
    fn a_public_key_verifies_its_own_algorithm_only() {
        let verifier = JwtVerifier::new(&JwtConfig::PublicKey(ED_PUBLIC.to_owned())).expect("a public key");
        let private = EncodingKey::from_ed_der(&STANDARD.decode(ED_PRIVATE_DER).expect("base64"));
        let token = encode(&Header::new(Algorithm::EdDSA), &claims(), &private).expect("signed");
        assert!(verifier.verify(&token, now()).is_ok());

        // The classic confusion: the public key used as an HMAC secret.
        let confused = EncodingKey::from_secret(ED_PUBLIC.as_bytes());
        let token = encode(&Header::new(Algorithm::HS256), &claims(), &confused).expect("signed");
        assert!(verifier.verify(&token, now()).is_err());
    }

    #[test]
    fn a_private_key_or_nonsense_is_no_public_key() {
        let private = format!("-----BEGIN {0}-----\n{ED_PRIVATE_DER}\n-----END {0}-----\n", "PRIVATE KEY");
        assert!(check_public_key(&private).expect_err("refused").contains("private"));
        assert!(check_public_key("nonsense").is_err());
        assert!(check_public_key(ED_PUBLIC).is_ok());
    }
}
