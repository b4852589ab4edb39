(* A sum over targets of functions of each target's own parameters, under
   constraints on each target's own parameters, is minimised by minimising
   target by target: a point minimises the whole if and only if every target's
   part minimises its own term. The number of parameters may differ between
   targets. *)
From mathcomp Require Import all_ssreflect all_algebra.
From unigrn Require Import frame.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Separation.
Variables (R : realDomainType) (J : finType) (T : J -> Type).
Variables (C : forall j, T j -> Prop) (f : forall j, T j -> R).

Definition whole_set (theta : forall j, T j) : Prop := forall j, C (theta j).
Definition whole (theta : forall j, T j) : R := \sum_j f (theta j).

(* theta with the part of target j exchanged for y *)
Definition exchange (theta : forall j, T j) j (y : T j) : forall k, T k :=
  fun k => match j =P k with
           | ReflectT e => eq_rect j T y k e
           | ReflectF _ => theta k
           end.

Lemma exchange_same theta j (y : T j) : exchange theta y j = y.
Proof.
rewrite /exchange; case: (j =P j) => // e.
by rewrite (eq_axiomK e).
Qed.

Lemma exchange_other theta j (y : T j) k : k != j -> exchange theta y k = theta k.
Proof.
rewrite /exchange; case: (j =P k) => // e.
by case: _ / e => /eqP.
Qed.

Theorem targets_separate theta :
  argmin whole_set whole theta <-> forall j, argmin (@C j) (@f j) (theta j).
Proof.
split=> [[Ct h] j | h].
- split=> [|y Cy]; first exact: Ct.
  have Ce : whole_set (exchange theta y).
    move=> k; have [->|kj] := eqVneq k j; first by rewrite exchange_same.
    by rewrite exchange_other.
  move: (h _ Ce); rewrite /whole (bigD1 j) //= [X in _ <= X](bigD1 j) //=.
  have -> : \sum_(k | k != j) f (exchange theta y k) = \sum_(k | k != j) f (theta k).
    by apply: eq_bigr => k kj; rewrite exchange_other.
  by rewrite exchange_same ler_add2r.
- split=> [j|th Ct]; first by case: (h j).
  by apply: ler_sum => j _; case: (h j) => _; apply.
Qed.

End Separation.

(* The same where the parameters are held in one object m, such as a matrix:
   part m j reads the parameters of target j, assemble puts parts together. *)
Section Parts.
Variables (R : realDomainType) (J : finType) (T : J -> Type) (M : Type).
Variables (C : forall j, T j -> Prop) (f : forall j, T j -> R).
Variables (part : M -> forall j, T j) (assemble : (forall j, T j) -> M).
Hypothesis part_assemble : forall c j, part (assemble c) j = c j.

Theorem parts_separate m :
  argmin (fun m => forall j, C (part m j)) (fun m => \sum_j f (part m j)) m <->
  forall j, argmin (@C j) (@f j) (part m j).
Proof.
split=> [[Cm h]|h].
- apply: (targets_separate C f (part m)).1; split=> // c Cc.
  have -> : whole f c = \sum_j f (part (assemble c) j).
    by apply: eq_bigr => j _; rewrite part_assemble.
  by apply: h => j; rewrite part_assemble; apply: Cc.
- have [Cm h'] := (targets_separate C f (part m)).2 h.
  by split=> // m' Cm'; apply: (h' (part m')).
Qed.

End Parts.

(* A network held as a matrix, regulators x targets. *)
Section Columns.
Variables (R : realDomainType) (q p : nat).
Variables (C : 'I_p -> 'cV[R]_q -> Prop) (f : 'I_p -> 'cV[R]_q -> R).

Theorem columns_separate (theta : 'M[R]_(q, p)) :
  argmin (fun th : 'M[R]_(q, p) => forall j, C j (col j th))
         (fun th : 'M[R]_(q, p) => \sum_j f j (col j th)) theta <->
  forall j, argmin (C j) (f j) (col j theta).
Proof.
apply: (@parts_separate R _ (fun=> 'cV[R]_q) _ C f (fun th j => col j th)
          (fun c => \matrix_(i, j) c j i 0)) => c j.
by apply/colP => i; rewrite !mxE.
Qed.

End Columns.
