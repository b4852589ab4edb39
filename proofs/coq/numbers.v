(* Arithmetic that the kernel can run. The integers of mathcomp are unary; those
   of Coq's ZArith and the fractions of QArith are binary. of_Q reads a fraction
   in any ordered field and carries every operation and comparison, so that a
   value or an inequality of an ordered field follows from one computed in
   fractions. *)
From Coq Require Import ZArith QArith Qabs.
From mathcomp Require Import all_ssreflect all_algebra ring zify ssrZ.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Close Scope Q_scope.
Local Open Scope ring_scope.

Section Read.
Variable R : realFieldType.

Definition of_Z (z : Z) : R := (int_of_Z z)%:~R.
Definition of_Q (q : Q) : R := of_Z (Qnum q) / of_Z (Zpos (Qden q)).

Lemma of_ZD a b : of_Z (Z.add a b) = of_Z a + of_Z b.
Proof. by rewrite /of_Z -intrD -raddfD. Qed.

Lemma of_ZM a b : of_Z (Z.mul a b) = of_Z a * of_Z b.
Proof. by rewrite /of_Z -intrM -rmorphM. Qed.

Lemma of_ZN a : of_Z (Z.opp a) = - of_Z a.
Proof. by rewrite /of_Z -mulrNz -raddfN. Qed.

Lemma of_Z_ge0 z : (0 <= of_Z z) = Z.leb 0 z.
Proof. by rewrite /of_Z ler0z; lia. Qed.

Lemma of_pos_gt0 p : 0 < of_Z (Zpos p).
Proof. by rewrite /of_Z ltr0z; lia. Qed.

Lemma of_pos_neq0 p : of_Z (Zpos p) != 0.
Proof. by rewrite gt_eqF ?of_pos_gt0. Qed.

Theorem of_QD a b : of_Q (Qplus a b) = of_Q a + of_Q b.
Proof.
rewrite /of_Q /= Pos2Z.inj_mul of_ZD !of_ZM; field.
by rewrite !of_pos_neq0.
Qed.

Theorem of_QN a : of_Q (Qopp a) = - of_Q a.
Proof. by rewrite /of_Q /= of_ZN mulNr. Qed.

Theorem of_QM a b : of_Q (Qmult a b) = of_Q a * of_Q b.
Proof.
rewrite /of_Q /= Pos2Z.inj_mul !of_ZM; field.
by rewrite !of_pos_neq0.
Qed.

Theorem of_QV a : of_Q (Qinv a) = (of_Q a)^-1.
Proof.
case: a => [[|p|p] d]; rewrite /of_Q /Qinv /=; first by rewrite !mul0r invr0.
  by rewrite invf_div.
by rewrite -!Pos2Z.opp_pos !of_ZN; field; rewrite !of_pos_neq0.
Qed.

Theorem of_Q_le a b : (of_Q a <= of_Q b) = Qle_bool a b.
Proof.
rewrite /of_Q ler_pdivr_mulr ?of_pos_gt0 // mulrAC ler_pdivl_mulr ?of_pos_gt0 //.
rewrite -!of_ZM -subr_ge0 -of_ZN -of_ZD of_Z_ge0 /Qle_bool; lia.
Qed.

Theorem of_Q_eq a b : (of_Q a == of_Q b) = Qeq_bool a b.
Proof.
rewrite eq_le !of_Q_le /Qle_bool /Qeq_bool.
move: (Z.mul _ _) (Z.mul _ _) => x y.
by apply/idP/idP => [h|/Zeq_is_eq_bool h]; [apply/Zeq_is_eq_bool | ]; lia.
Qed.

Theorem of_Q_norm a : `|of_Q a| = of_Q (Qabs a).
Proof.
case: a => [[|p|p] d]; rewrite /of_Q /= normrM normfV (gtr0_norm (of_pos_gt0 d)).
- by rewrite normr0.
- by rewrite gtr0_norm ?of_pos_gt0.
- by rewrite -Pos2Z.opp_pos of_ZN normrN gtr0_norm ?of_pos_gt0.
Qed.

Theorem of_Qred a : of_Q (Qred a) = of_Q a.
Proof. by apply/eqP; rewrite of_Q_eq; apply/Qeq_bool_iff/Qred_correct. Qed.

Lemma of_Q0 : of_Q (Qmake 0 1) = 0. Proof. by rewrite /of_Q mul0r. Qed.
Lemma of_Q1 : of_Q (Qmake 1 1) = 1. Proof. by rewrite /of_Q divff ?of_pos_neq0. Qed.

Lemma of_Q_nat n : of_Q (inject_Z (Z.of_nat n)) = n%:R.
Proof. by rewrite /of_Q /of_Z /= divr1 -[n%:R]/((Posz n)%:~R); congr (_%:~R); lia. Qed.

End Read.
